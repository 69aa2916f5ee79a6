"""One unit with the demo's real models: what is stored is what was judged."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

from pipeline.diffusion.redenoise import RedenoiseSettings, redenoise
from pipeline.diffusion.sample import sample_latents
from pipeline.records import Candidate, Outcome, Status
from pipeline.stages.planning import make_plan
from pipeline.stages.unit import ProducedUnit, Recipe, produce_unit
from pipeline.storage.schema import NoisePair, PairSchema
from tests.sealed import SETTINGS, changed, demo_models, demo_prompts, write_config
from tests.stages.broken_models import BadDecoder, BadPrediction, BadReward, WrappedDenoiser

KEEP_ALL = changed(
    rewards=[{**SETTINGS["rewards"][0], "margin": -1e6}, SETTINGS["rewards"][1]],
    gate={"max_norm_deviation": 1e6, "max_kurtosis_deviation": 1e6},
    units={"size": 6, "batch_size": 4},
)


def _unit(
    folder: Path, settings: dict[str, Any] = KEEP_ALL, prompts: list[str] | None = None
) -> tuple[Recipe, list[Candidate]]:
    config = write_config(folder, settings, prompts=prompts or demo_prompts(3))
    plan, table = make_plan(config)
    return Recipe.of(plan), list(table.candidates(plan, plan.unit_range(0)))


def _pairs(produced: ProducedUnit) -> list[NoisePair]:
    file = pa.ipc.open_file(pa.BufferReader(produced.data))
    schema = PairSchema.of(file.schema)
    batches = [file.get_batch(index) for index in range(file.num_record_batches)]
    return [pair for batch in batches for pair in schema.to_pairs(batch)]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, list[Candidate], ProducedUnit]:
    recipe, candidates = _unit(tmp_path_factory.mktemp("unit"))
    denoiser, rewards = demo_models()
    return recipe, candidates, produce_unit(candidates, denoiser, rewards, recipe)


def test_unit_everything_kept_is_in_the_data_in_order(
    kept: tuple[Recipe, list[Candidate], ProducedUnit],
) -> None:
    _, candidates, produced = kept
    pairs = _pairs(produced)
    expected = [(c.sample_id, c.prompt, c.prompt_id, c.seed) for c in candidates]
    assert len(candidates) == 6
    assert [(p.sample_id, p.prompt, p.prompt_id, p.seed) for p in pairs] == expected
    assert [o.candidate for o in produced.outcomes] == list(range(6))
    assert [o.num_bytes for o in produced.outcomes] == [p.num_bytes for p in pairs]
    assert [o.split for o in produced.outcomes] == [c.split for c in candidates]


def test_source_noise_is_the_seeds_normal_draw_in_half_precision(
    kept: tuple[Recipe, list[Candidate], ProducedUnit],
) -> None:
    for pair in _pairs(kept[2]):
        generator = torch.Generator("cpu").manual_seed(pair.seed)
        drawn = torch.randn((4, 8, 8), generator=generator, dtype=torch.float32)
        assert pair.source_noise is not None
        assert drawn.half().numpy().tobytes() == pair.source_noise.tobytes()


@pytest.mark.parametrize("which", ["source", "golden"])
def test_stored_noise_sampled_again_gives_the_stored_image_and_score(
    kept: tuple[Recipe, list[Candidate], ProducedUnit], which: str
) -> None:
    recipe, _, produced = kept
    denoiser, rewards = demo_models()
    pairs = _pairs(produced)
    for begin in range(0, len(pairs), recipe.batch_size):
        batch = pairs[begin : begin + recipe.batch_size]
        prompts = [pair.prompt for pair in batch]
        noise = torch.from_numpy(np.stack([getattr(pair, f"{which}_noise") for pair in batch]))
        with torch.inference_mode():
            encoded = denoiser.encode_prompts(prompts)
            images = denoiser.decode(
                sample_latents(denoiser, encoded, noise.float(), num_inference_steps=4,
                               guidance_scale=1.0)
            )  # fmt: skip
        pixels = (images * 255).round().byte().permute(0, 2, 3, 1)
        scores = {name: reward.score(prompts, pixels).tolist() for name, reward in rewards.items()}
        for row, pair in enumerate(batch):
            stored = Image.open(io.BytesIO(getattr(pair, f"{which}_image")))
            assert stored.format == "PNG" and stored.mode == "RGB"
            assert np.array_equal(np.array(stored), pixels[row].numpy())
            given = {name: column[row] for name, column in scores.items()}
            assert getattr(pair, f"{which}_rewards") == given


def test_golden_noise_is_the_stored_source_noise_redenoised(
    kept: tuple[Recipe, list[Candidate], ProducedUnit],
) -> None:
    denoiser, _ = demo_models()
    pairs = _pairs(kept[2])[:4]
    noise = torch.from_numpy(np.stack([pair.source_noise for pair in pairs]))
    settings = RedenoiseSettings(
        num_inference_steps=8, num_steps=1, guidance_scale=3.0, inversion_guidance_scale=1.0
    )
    with torch.inference_mode():
        encoded = denoiser.encode_prompts([pair.prompt for pair in pairs])
        golden = redenoise(denoiser, encoded, noise.float(), settings).golden_noise.half()
    for pair, row in zip(pairs, golden, strict=True):
        assert row.numpy().tobytes() == pair.golden_noise.tobytes()
        assert not np.array_equal(pair.golden_noise, pair.source_noise)


def test_noise_stats_are_those_of_numpy(
    kept: tuple[Recipe, list[Candidate], ProducedUnit],
) -> None:
    from scipy.stats import kurtosis

    for pair in _pairs(kept[2]):
        assert pair.source_noise is not None
        x, y = pair.source_noise.astype(float).ravel(), pair.golden_noise.astype(float).ravel()
        expected = {
            "cosine": x @ y / np.linalg.norm(x) / np.linalg.norm(y),
            "relative_change": np.linalg.norm(y - x) / np.linalg.norm(x),
            "mean": y.mean(),
            "std": y.std(),
            "kurtosis": kurtosis(y),
        }
        assert pair.noise_stats.model_dump() == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_unit_twice_is_the_same_bytes_and_outcomes(
    kept: tuple[Recipe, list[Candidate], ProducedUnit],
) -> None:
    recipe, candidates, produced = kept
    assert produce_unit(candidates, *demo_models(), recipe) == produced


def test_unit_prompts_are_encoded_once_each_and_evaluations_counted(
    kept: tuple[Recipe, list[Candidate], ProducedUnit],
) -> None:
    recipe, candidates, produced = kept
    denoiser, rewards = demo_models()
    counting = WrappedDenoiser(denoiser)
    again = produce_unit(candidates, counting, rewards, recipe)
    assert counting.encoded == list(dict.fromkeys(c.prompt for c in candidates))
    assert counting.rows_predicted == again.forward_evaluations == produced.forward_evaluations
    # Two images of 4 steps, one guided step down (2 evaluations) and one back.
    assert produced.forward_evaluations == 6 * (2 * 4 + 2 + 1) == 6 * recipe.evaluations()


@pytest.mark.parametrize(("guidance", "back", "steps"), [(5.5, 1.0, 1), (0.0, 2.0, 2)])
def test_evaluations_other_guidance_equals_the_count(
    tmp_path: Path, guidance: float, back: float, steps: int
) -> None:
    redenoise_section = {"guidance_scale": guidance, "inversion_guidance_scale": back}
    settings = KEEP_ALL | {
        "sampling": {"num_inference_steps": 2, "guidance_scale": guidance},
        "redenoise": {"num_inference_steps": 4, "num_steps": steps, **redenoise_section},
    }
    recipe, candidates = _unit(tmp_path, settings)
    counting = WrappedDenoiser(demo_models()[0])
    produced = produce_unit(candidates, counting, demo_models()[1], recipe)
    assert produced.forward_evaluations == counting.rows_predicted
    assert produced.forward_evaluations == len(candidates) * recipe.evaluations()


def test_evaluations_exact_inversion_counts_what_each_candidate_took(tmp_path: Path) -> None:
    section = {"num_inference_steps": 4, "guidance_scale": 3.0, "inversion": "exact"}
    settings = KEEP_ALL | {"redenoise": section, "units": {"size": 2, "batch_size": 1}}
    recipe, candidates = _unit(tmp_path, settings)
    counting = WrappedDenoiser(demo_models()[0])
    produced = produce_unit(candidates, counting, demo_models()[1], recipe)
    assert produced.forward_evaluations == counting.rows_predicted
    assert produced.forward_evaluations < len(candidates) * recipe.evaluations()


def test_source_noise_left_out_and_no_images_store_neither(tmp_path: Path) -> None:
    output = {**KEEP_ALL["output"], "source_noise": False, "images": "none"}
    recipe, candidates = _unit(tmp_path, KEEP_ALL | {"output": output})
    for pair in _pairs(produce_unit(candidates, *demo_models(), recipe)):
        assert pair.source_noise is pair.source_image is pair.golden_image is None


def test_webp_images_are_lossless(
    kept: tuple[Recipe, list[Candidate], ProducedUnit], tmp_path: Path
) -> None:
    output = {**KEEP_ALL["output"], "images": "webp"}
    recipe, candidates = _unit(tmp_path, KEEP_ALL | {"output": output})
    webp = _pairs(produce_unit(candidates, *demo_models(), recipe))
    for left, right in zip(webp, _pairs(kept[2]), strict=True):
        images = [Image.open(io.BytesIO(p.golden_image or b"")) for p in (left, right)]
        assert [image.format for image in images] == ["WEBP", "PNG"]
        assert np.array_equal(*map(np.array, images))


def _assert_only_one_prompt_failed(
    produced: ProducedUnit, whole: ProducedUnit, prompt_id: str, reason: str
) -> list[Outcome]:
    failed = [o for o in produced.outcomes if o.prompt_id == prompt_id]
    assert [(o.status, o.reason, o.num_bytes) for o in failed] == [(Status.FAILED, reason, 0)] * 2
    others = [o for o in produced.outcomes if o.prompt_id != prompt_id]
    assert others == [o for o in whole.outcomes if o.prompt_id != prompt_id]
    untouched = [p for p in _pairs(whole) if p.prompt_id != prompt_id]
    schema = PairSchema(latent_shape=(4, 8, 8), reward_names=("scene", "oracle"))
    assert schema.to_batch(_pairs(produced)).equals(schema.to_batch(untouched))
    return failed


@pytest.mark.parametrize("value", [float("nan"), 1e6], ids=["nan", "beyond float16"])
def test_prediction_not_finite_fails_that_candidate_alone(
    kept: tuple[Recipe, list[Candidate], ProducedUnit], value: float
) -> None:
    recipe, candidates, whole = kept
    denoiser, rewards = demo_models()
    bad = BadPrediction(denoiser, candidates[2].prompt, value)
    produced = produce_unit(candidates, bad, rewards, recipe)
    failed = _assert_only_one_prompt_failed(
        produced, whole, candidates[2].prompt_id, "noise:not_finite"
    )
    assert all(outcome.noise_stats is None for outcome in failed)


def test_image_latents_not_finite_fail_that_candidate_alone(
    kept: tuple[Recipe, list[Candidate], ProducedUnit],
) -> None:
    recipe, candidates, whole = kept
    denoiser, rewards = demo_models()
    # The proposal is two calls; the images that follow are spoilt. One batch, so that all are.
    recipe = replace(recipe, batch_size=6)
    whole = produce_unit(candidates, denoiser, rewards, recipe)
    bad = BadPrediction(denoiser, candidates[2].prompt, float("nan"), from_call=2)
    produced = produce_unit(candidates, bad, rewards, recipe)
    failed = _assert_only_one_prompt_failed(
        produced, whole, candidates[2].prompt_id, "image:not_finite"
    )
    for outcome in failed:
        assert outcome.source_rewards == outcome.golden_rewards == {"scene": None, "oracle": None}
        assert outcome.noise_stats is not None


def test_decoder_not_finite_fails_the_row(
    kept: tuple[Recipe, list[Candidate], ProducedUnit],
) -> None:
    recipe, candidates, _ = kept
    denoiser, rewards = demo_models()
    produced = produce_unit(candidates, BadDecoder(denoiser, row=1), rewards, recipe)
    reasons = [outcome.reason for outcome in produced.outcomes]
    # Batches of 4 and 2.
    assert reasons == [None, "image:not_finite", None, None, None, "image:not_finite"]


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_reward_not_finite_fails_that_candidate_alone(
    kept: tuple[Recipe, list[Candidate], ProducedUnit], value: float
) -> None:
    recipe, candidates, whole = kept
    denoiser, rewards = demo_models()
    prompt = candidates[4].prompt
    bad = {**rewards, "scene": BadReward(rewards["scene"], prompt, value)}
    produced = produce_unit(candidates, denoiser, bad, recipe)
    failed = _assert_only_one_prompt_failed(
        produced, whole, candidates[4].prompt_id, "reward:scene:no_score"
    )
    assert all(outcome.source_rewards["scene"] is None for outcome in failed)
    assert all(outcome.source_rewards["oracle"] is not None for outcome in failed)


def test_reward_not_finite_that_only_records_fails_nobody(
    kept: tuple[Recipe, list[Candidate], ProducedUnit],
) -> None:
    recipe, candidates, _ = kept
    denoiser, rewards = demo_models()
    prompt = candidates[4].prompt
    bad = {**rewards, "oracle": BadReward(rewards["oracle"], prompt, float("nan"))}
    produced = produce_unit(candidates, denoiser, bad, recipe)
    assert {outcome.status for outcome in produced.outcomes} == {Status.KEPT}
    assert _pairs(produced)[4].golden_rewards["oracle"] is None


def test_prompt_too_long_is_kept_truncated_and_flagged(tmp_path: Path) -> None:
    long = "a red circle and a blue square " * 5
    recipe, candidates = _unit(tmp_path, prompts=["a red circle", long])
    produced = produce_unit(candidates, *demo_models(), recipe)
    assert [o.truncated for o in produced.outcomes] == [False, False, True, True]
    assert {o.status for o in produced.outcomes} == {Status.KEPT}
    assert _pairs(produced)[2].prompt == long.strip()


def test_unit_nothing_kept_is_a_file_without_rows(tmp_path: Path) -> None:
    rewards = [{**SETTINGS["rewards"][0], "margin": 1e6}, SETTINGS["rewards"][1]]
    recipe, candidates = _unit(tmp_path, KEEP_ALL | {"rewards": rewards})
    produced = produce_unit(candidates, *demo_models(), recipe)
    assert {(o.status, o.reason) for o in produced.outcomes} == {(Status.REJECTED, "reward:scene")}
    assert _pairs(produced) == []


@pytest.mark.parametrize("gaps", [{0}, {1, 4}, {0, 1, 2, 3}, {4, 5}, {0, 1, 2, 3, 5}], ids=str)
def test_gaps_fail_with_their_reason_and_leave_the_others_their_bytes(
    kept: tuple[Recipe, list[Candidate], ProducedUnit], gaps: set[int]
) -> None:
    recipe, candidates, whole = kept
    reasons = {position: f"error:of_{position}" for position in gaps}
    denoiser, rewards = demo_models()
    watched = WrappedDenoiser(denoiser)
    produced = produce_unit(candidates, watched, rewards, recipe, reasons)
    for position, outcome in enumerate(produced.outcomes):
        if position in gaps:
            assert (outcome.status, outcome.reason) == (Status.FAILED, reasons[position])
            assert outcome.sample_id == candidates[position].sample_id
            assert set(outcome.golden_rewards.values()) == {None}
        else:
            assert outcome == whole.outcomes[position]
    ids = {outcome.sample_id for outcome in produced.outcomes if outcome.status is Status.KEPT}
    untouched = [pair for pair in _pairs(whole) if pair.sample_id in ids]
    assert len(untouched) == len(candidates) - len(gaps)
    schema = PairSchema(latent_shape=(4, 8, 8), reward_names=("scene", "oracle"))
    assert schema.to_batch(_pairs(produced)).equals(schema.to_batch(untouched))
    # What is suspected is nowhere near the model, and the shape of what is encoded is kept.
    live = {c.prompt for position, c in enumerate(candidates) if position not in gaps}
    assert set(watched.encoded) - {""} == live
    assert len(watched.encoded) == 3


def test_unit_of_gaps_alone_is_computed_all_the_same(
    kept: tuple[Recipe, list[Candidate], ProducedUnit],
) -> None:
    recipe, candidates, _ = kept
    denoiser, rewards = demo_models()
    watched = WrappedDenoiser(denoiser)
    everything = dict.fromkeys(range(6), "error:untried")
    produced = produce_unit(candidates, watched, rewards, recipe, everything)
    assert {outcome.reason for outcome in produced.outcomes} == {"error:untried"}
    assert _pairs(produced) == []
    assert watched.encoded == [""] * 3
    assert watched.rows_predicted > 0
