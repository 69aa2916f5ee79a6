"""The prediction that source images and re-denoising have in common is evaluated once."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline.config.proposers import RedenoiseSettings
from pipeline.core.records import Candidate
from pipeline.diffusion.noise import as_model_input, stored
from pipeline.diffusion.redenoise import redenoise
from pipeline.stages.first_prediction import FirstPredictionDenoiser
from pipeline.stages.propose import draw_source_noise
from pipeline.stages.unit import produce_unit
from tests.sealed import demo_models
from tests.stages.broken_models import WrappedDenoiser
from tests.stages.demo_unit import KEEP_ALL, make_unit, stored_pairs

PUBLISHED: dict[str, dict[str, Any]] = {
    "sampling": {"num_inference_steps": 4, "guidance_scale": 5.5},
    "redenoise": {"num_inference_steps": 4, "guidance_scale": 3.0, "num_steps": 2},
    "units": {"size": 2, "batch_size": 2},
}


def _alone(candidates: list[Candidate], settings: dict[str, Any]) -> Tensor:
    """Return the golden noises (B, ...) of re-denoising that shares nothing."""
    denoiser = demo_models()[0]
    noise = as_model_input(draw_source_noise(candidates, denoiser.latent_shape))
    prompts = denoiser.encode_prompts([candidate.prompt for candidate in candidates])
    with torch.inference_mode():
        return stored(
            redenoise(denoiser, prompts, noise, RedenoiseSettings(**settings)).latents
        ).cpu()


@pytest.mark.parametrize(
    ("sampling", "redenoising", "saved"),
    [
        ({}, {}, 2),
        # The conditional prediction alone, in both.
        ({"guidance_scale": 1.0}, {"guidance_scale": 1.0}, 1),
        # Other rows in the batch, so other kernels could round otherwise.
        ({"guidance_scale": 1.0}, {}, 0),
        # Another level.
        ({}, {"num_inference_steps": 5}, 0),
        ({"scheduler": "model"}, {}, 2),
    ],
    ids=["guided", "unguided", "other rows", "other level", "model's scheduler"],
)
def test_first_step_is_shared_if_all_inputs_are_the_same_and_bytes_stay(
    tmp_path: Path, sampling: dict[str, Any], redenoising: dict[str, Any], saved: int
) -> None:
    settings = PUBLISHED | {
        "sampling": PUBLISHED["sampling"] | sampling,
        "redenoise": PUBLISHED["redenoise"] | redenoising,
    }
    spec, candidates = make_unit(tmp_path, KEEP_ALL | settings)
    counting = WrappedDenoiser(demo_models()[0])
    produced = produce_unit(candidates, counting, demo_models()[1], spec)
    assert produced.forward_evaluations == len(candidates) * spec.evaluations()
    assert counting.rows_predicted == produced.forward_evaluations - saved * len(candidates)
    golden = torch.stack([torch.tensor(p.golden_noise) for p in stored_pairs(produced)])
    assert torch.equal(golden, _alone(candidates, settings["redenoise"]))


def test_first_prediction_is_a_copy_and_differs_by_bits() -> None:
    counting = WrappedDenoiser(demo_models()[0])
    denoiser = FirstPredictionDenoiser(counting)
    prompts = denoiser.encode_prompts(["a red circle", "a blue square"])
    timestep, later = denoiser.schedule(4).timesteps[:2]
    latents = torch.zeros(1, *denoiser.latent_shape)
    one, other = (prompts.take([row]).conditional for row in (0, 1))
    first = denoiser.predict(latents, timestep, one).clone()
    # A custom proposer may write into what it receives.
    denoiser.predict(latents.clone(), timestep, one.copy()).fill_(7)
    assert torch.equal(denoiser.predict(latents, timestep, one), first)
    assert counting.rows_predicted == 1
    denoiser.predict(latents, later, one)
    denoiser.predict(latents, timestep, other)
    denoiser.predict(-latents, timestep, one)  # equal as numbers, but not as bits
    denoiser.predict(latents.expand(2, *denoiser.latent_shape), timestep, prompts.conditional)
    assert counting.rows_predicted == 1 + 3 + 2
    assert torch.equal(denoiser.predict(latents, timestep, one), first)
