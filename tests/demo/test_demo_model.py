"""The shipped diffusion model: its format, its size, and the figures of its card."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file

from jobs.demo_models.data import as_images, as_pixels, demo_prompts, render_pictures
from jobs.demo_models.evaluate import load_vae
from jobs.demo_models.fit import DemoSettings, Draws, StageSettings, fit, learning_rate_factor
from jobs.demo_models.vae import reconstruct
from jobs.train_demo_models import main as train_demo_models
from jobs.train_demo_models import train_all
from pipeline.core.errors import UserError
from pipeline.demo.oracle import SceneOracle
from pipeline.demo.scenes import WORDS, caption

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "pipeline" / "demo"
MEGABYTE = 10**6


@pytest.fixture(scope="module")
def pipe() -> StableDiffusionPipeline:
    pipe = StableDiffusionPipeline.from_pretrained(DEMO / "model", local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_weights_are_at_most_16_megabytes_and_half_precision() -> None:
    files = [*(DEMO / "model").rglob("*"), *(DEMO / "reward").rglob("*")]
    assert sum(file.stat().st_size for file in files if file.is_file()) <= 16 * MEGABYTE
    assert not [file for file in files if file.suffix in {".bin", ".pt", ".ckpt", ".pkl"}]
    weights = [load_file(file) for file in files if file.suffix == ".safetensors"]
    assert len(weights) == 4, "UNet, text encoder, autoencoder, reward"
    assert {tensor.dtype for tensors in weights for tensor in tensors.values()} == {torch.float16}


def test_folder_is_a_stable_diffusion_pipeline(pipe: StableDiffusionPipeline) -> None:
    assert pipe.safety_checker is None and pipe.feature_extractor is None
    assert pipe.vae_scale_factor == 4 and pipe.unet.config.sample_size == 8
    scheduler = pipe.scheduler.config
    assert (scheduler.beta_schedule, scheduler.beta_start, scheduler.beta_end) == (
        "scaled_linear",
        0.00085,
        0.012,
    )
    assert scheduler.steps_offset == 1 and scheduler.prediction_type == "epsilon"
    assert not scheduler.clip_sample and not scheduler.set_alpha_to_one


def test_tokenizer_gives_every_word_one_token(pipe: StableDiffusionPipeline) -> None:
    tokenizer = pipe.tokenizer
    ids = [tokenizer(word).input_ids for word in WORDS]
    assert all(len(row) == 3 for row in ids), "start, the word, end"
    assert len({row[1] for row in ids}) == len(WORDS)
    assert tokenizer.model_max_length == 16
    assert max(len(tokenizer(prompt).input_ids) for prompt in demo_prompts()) <= 12
    assert tokenizer.unk_token_id not in tokenizer("Ein Hund, π!").input_ids[:-1]


def test_scaling_factor_makes_latents_unit_variance(pipe: StableDiffusionPipeline) -> None:
    pixels = as_pixels(render_pictures(200, seed=31, held_out=True).images)
    with torch.no_grad():
        latents = pipe.vae.encode(pixels).latent_dist.mean * pipe.vae.config.scaling_factor
    assert latents.shape == (200, 4, 8, 8)
    assert latents.std().item() == pytest.approx(1.0, abs=0.05)


def test_reconstructions_keep_their_facts() -> None:
    pool = reconstruct(load_vae(DEMO / "model"), render_pictures(300, seed=32, held_out=True))
    captions = [caption(scene) for scene in pool.scenes]
    assert SceneOracle().score(captions, torch.from_numpy(pool.images)).mean() >= 0.95


def test_guidance_makes_pictures_follow_their_prompts(pipe: StableDiffusionPipeline) -> None:
    """Pictures at guidance 5.5 score well, at 1 clearly worse: the range of golden noise."""
    prompts = demo_prompts()[:48]
    soft = {}
    for scale in (1.0, 5.5):
        images = pipe(
            prompts,
            guidance_scale=scale,
            num_inference_steps=20,
            output_type="np",
            generator=torch.Generator().manual_seed(0),
        ).images
        stacked = torch.from_numpy((images * 255).round().astype(np.uint8))
        soft[scale] = SceneOracle().score(prompts, stacked).mean().item()
    # The target is .60 over all prompts; the slack is two standard errors of 48 of them.
    assert soft[5.5] >= 0.60 - 0.08
    assert soft[5.5] - soft[1.0] >= 0.15


def test_pixels_round_trip() -> None:
    images = render_pictures(3, seed=33).images
    assert np.array_equal(as_images(as_pixels(images)), images)


def test_learning_rate_rises_stays_and_falls_to_zero() -> None:
    schedule = StageSettings(steps=100, batch_size=1, learning_rate=1.0, falling=0.4, warmup=10)
    rates = [learning_rate_factor(schedule, step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == rates[60] == 1.0
    assert rates[80] == pytest.approx(0.5) and rates[100] == pytest.approx(0.0)


def test_fit_resumed_equals_fit_uninterrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut after the checkpoint at step 4 of 10, run again: the same weights, bit for bit."""
    monkeypatch.setattr("jobs.demo_models.fit.CHECKPOINT_EVERY", 4)
    schedule = StageSettings(
        steps=10, batch_size=8, learning_rate=0.1, falling=0.5, warmup=2, ema_decay=0.9
    )

    class CutError(Exception):
        pass

    def train(name: str, cut_at: int | None) -> torch.Tensor:
        torch.manual_seed(0)
        model = torch.nn.Linear(4, 1)

        def loss_of(draws: Draws, batch_size: int) -> torch.Tensor:
            inputs = draws.normal(batch_size, 4)
            error: torch.Tensor = model(inputs) - inputs.sum(1, keepdim=True)
            return error.square().mean()

        def report(stage: str, step: int, steps: int, loss: float) -> None:
            if step == cut_at:
                raise CutError

        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        fit("toy", model, loss_of, schedule, folder=folder, seed=0, report=report)
        return model.weight.detach().clone()

    expected = train("undisturbed", None)
    with pytest.raises(CutError):
        train("cut", 6)
    assert torch.equal(train("cut", None), expected)
    assert torch.equal(train("cut", 1), expected), "a finished stage is not trained again"


def test_quick_training_job_runs_and_resumes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train_demo_models(out=tmp_path, quick=True)
    assert "oracle on renders, soft" in capsys.readouterr().out
    unet = tmp_path / "model" / "unet" / "diffusion_pytorch_model.safetensors"
    reward = tmp_path / "reward" / "model.safetensors"
    before = unet.read_bytes(), reward.read_bytes()
    # Cut after the diffusion stage: only the reward is trained again, to the same weights.
    (tmp_path / "reward.safetensors").unlink()
    untouched = (tmp_path / "diffusion.safetensors").stat().st_mtime_ns
    train_all(DemoSettings().quick(), tmp_path, seed=0)
    assert (unet.read_bytes(), reward.read_bytes()) == before
    assert (tmp_path / "diffusion.safetensors").stat().st_mtime_ns == untouched
    with pytest.raises(UserError, match="another seed"):
        train_all(DemoSettings().quick(), tmp_path, seed=1)
