"""One unit with the demo's real models: the stored pairs are those that were scored."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.config.proposers import RedenoiseSettings
from pipeline.core.records import Status
from pipeline.diffusion.redenoise import redenoise
from pipeline.diffusion.sample import sample_latents
from pipeline.stages.unit import produce_unit
from tests.sealed import SETTINGS, demo_models
from tests.stages.demo_unit import KEEP_ALL, Kept, make_unit, source_noises, stored_pairs


def test_unit_everything_kept_is_in_the_data_in_order(kept: Kept) -> None:
    _, candidates, produced = kept
    pairs = stored_pairs(produced)
    expected = [(c.sample_id, c.prompt, c.prompt_id, c.seed) for c in candidates]
    assert len(candidates) == 6
    assert [(p.sample_id, p.prompt, p.prompt_id, p.seed) for p in pairs] == expected
    assert [o.candidate for o in produced.outcomes] == list(range(6))
    assert [o.num_bytes for o in produced.outcomes] == [p.num_bytes for p in pairs]
    assert [o.split for o in produced.outcomes] == [c.split for c in candidates]


def test_source_noise_is_the_seeds_normal_draw_in_half_precision(kept: Kept) -> None:
    for pair in stored_pairs(kept.produced):
        generator = torch.Generator("cpu").manual_seed(pair.seed)
        drawn = torch.randn((4, 8, 8), generator=generator, dtype=torch.float32)
        assert pair.source_noise is not None
        assert drawn.half().numpy().tobytes() == pair.source_noise.tobytes()


@pytest.mark.parametrize("which", ["source", "golden"])
def test_stored_noise_sampled_again_gives_the_stored_image_and_score(
    kept: Kept, which: str
) -> None:
    spec, _, produced = kept
    denoiser, rewards = demo_models()
    pairs = stored_pairs(produced)
    for begin in range(0, len(pairs), spec.batch_size):
        batch = pairs[begin : begin + spec.batch_size]
        prompts = [pair.prompt for pair in batch]
        noise = torch.from_numpy(np.stack([getattr(pair, f"{which}_noise") for pair in batch]))
        with torch.inference_mode():
            encoded = denoiser.encode_prompts(prompts)
            images = denoiser.decode(
                sample_latents(denoiser, encoded, noise.float(), num_inference_steps=4,
                               guidance_scale=1.0)
            )  # fmt: skip
        pixels = (images * 255).round().byte().permute(0, 2, 3, 1).contiguous()
        scores = {name: reward.score(prompts, pixels).tolist() for name, reward in rewards.items()}
        for row, pair in enumerate(batch):
            stored = Image.open(io.BytesIO(getattr(pair, f"{which}_image")))
            assert stored.format == "PNG" and stored.mode == "RGB"
            assert np.array_equal(np.array(stored), pixels[row].numpy())
            given = {name: column[row] for name, column in scores.items()}
            assert getattr(pair, f"{which}_rewards") == given


def test_golden_noise_is_the_stored_source_noise_redenoised(kept: Kept) -> None:
    denoiser, _ = demo_models()
    pairs = stored_pairs(kept.produced)[:4]
    noise = torch.from_numpy(np.stack(source_noises(pairs)))
    settings = RedenoiseSettings(
        num_inference_steps=8, num_steps=1, guidance_scale=3.0, inversion_guidance_scale=1.0
    )
    with torch.inference_mode():
        encoded = denoiser.encode_prompts([pair.prompt for pair in pairs])
        golden = redenoise(denoiser, encoded, noise.float(), settings).latents.half()
    for pair, row, source in zip(pairs, golden, noise, strict=True):
        assert row.numpy().tobytes() == pair.golden_noise.tobytes()
        assert not np.array_equal(pair.golden_noise, source.numpy())


def test_noise_stats_are_those_of_numpy(kept: Kept) -> None:
    from scipy.stats import kurtosis

    for pair in stored_pairs(kept.produced):
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


def test_unit_twice_is_the_same_bytes_and_outcomes(kept: Kept) -> None:
    spec, candidates, produced = kept
    assert produce_unit(candidates, *demo_models(), spec) == produced


def test_source_noise_left_out_and_no_images_store_neither(tmp_path: Path) -> None:
    output = {**KEEP_ALL["output"], "source_noise": False, "images": "none"}
    spec, candidates = make_unit(tmp_path, KEEP_ALL | {"output": output})
    for pair in stored_pairs(produce_unit(candidates, *demo_models(), spec)):
        assert pair.source_noise is None
        assert pair.source_image is None and pair.golden_image is None


def test_webp_images_are_lossless(kept: Kept, tmp_path: Path) -> None:
    output = {**KEEP_ALL["output"], "images": "webp"}
    spec, candidates = make_unit(tmp_path, KEEP_ALL | {"output": output})
    webp = stored_pairs(produce_unit(candidates, *demo_models(), spec))
    for left, right in zip(webp, stored_pairs(kept.produced), strict=True):
        images = [Image.open(io.BytesIO(p.golden_image or b"")) for p in (left, right)]
        assert [image.format for image in images] == ["WEBP", "PNG"]
        assert np.array_equal(np.array(images[0]), np.array(images[1]))


def test_prompt_too_long_is_kept_truncated_and_flagged(tmp_path: Path) -> None:
    long = "a red circle and a blue square " * 5
    spec, candidates = make_unit(tmp_path, prompts=["a red circle", long])
    produced = produce_unit(candidates, *demo_models(), spec)
    assert [o.truncated for o in produced.outcomes] == [False, False, True, True]
    assert {o.status for o in produced.outcomes} == {Status.KEPT}
    assert stored_pairs(produced)[2].prompt == long.strip()


def test_unit_nothing_kept_is_a_file_without_rows(tmp_path: Path) -> None:
    rewards = [{**SETTINGS["rewards"][0], "margin": 1e6}, SETTINGS["rewards"][1]]
    spec, candidates = make_unit(tmp_path, KEEP_ALL | {"rewards": rewards})
    produced = produce_unit(candidates, *demo_models(), spec)
    assert {(o.status, o.reason) for o in produced.outcomes} == {(Status.REJECTED, "reward:scene")}
    assert stored_pairs(produced) == []
