"""Cost of a unit: every prompt encoded once, every row of a prediction counted."""

from pathlib import Path

import pytest

from pipeline.stages.unit import produce_unit
from tests.sealed import demo_models
from tests.stages.broken_models import WrappedDenoiser
from tests.stages.demo_unit import KEEP_ALL, Kept, make_unit


def test_unit_prompts_are_encoded_once_each_and_evaluations_counted(kept: Kept) -> None:
    spec, candidates, produced = kept
    denoiser, rewards = demo_models()
    counting = WrappedDenoiser(denoiser)
    again = produce_unit(candidates, counting, rewards, spec)
    assert counting.encoded == list(dict.fromkeys(c.prompt for c in candidates))
    assert counting.rows_predicted == again.forward_evaluations == produced.forward_evaluations
    # Two images of 4 steps, one guided step down (2 evaluations) and one back.
    assert produced.forward_evaluations == 6 * (2 * 4 + 2 + 1) == 6 * spec.evaluations()


@pytest.mark.parametrize(("guidance", "back", "steps"), [(5.5, 1.0, 1), (0.0, 2.0, 2)])
def test_evaluations_other_guidance_equals_the_count(
    tmp_path: Path, guidance: float, back: float, steps: int
) -> None:
    redenoise_section = {"guidance_scale": guidance, "inversion_guidance_scale": back}
    settings = KEEP_ALL | {
        "sampling": {"num_inference_steps": 2, "guidance_scale": guidance},
        "redenoise": {"num_inference_steps": 4, "num_steps": steps, **redenoise_section},
    }
    spec, candidates = make_unit(tmp_path, settings)
    counting = WrappedDenoiser(demo_models()[0])
    produced = produce_unit(candidates, counting, demo_models()[1], spec)
    assert produced.forward_evaluations == counting.rows_predicted
    assert produced.forward_evaluations == len(candidates) * spec.evaluations()


def test_evaluations_exact_inversion_counts_what_each_candidate_took(tmp_path: Path) -> None:
    section = {"num_inference_steps": 4, "guidance_scale": 3.0, "inversion": "exact"}
    settings = KEEP_ALL | {"redenoise": section, "units": {"size": 2, "batch_size": 1}}
    spec, candidates = make_unit(tmp_path, settings)
    counting = WrappedDenoiser(demo_models()[0])
    produced = produce_unit(candidates, counting, demo_models()[1], spec)
    assert produced.forward_evaluations == counting.rows_predicted
    assert produced.forward_evaluations < len(candidates) * spec.evaluations()
