"""``DiffusersDenoiser`` compared with the call of its pipeline, and models that it rejects."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import (
    StableDiffusionPipeline,
)
from diffusers.utils import logging as diffusers_logging

from pipeline.core.errors import ModelError
from pipeline.diffusion.denoiser import Denoiser
from pipeline.diffusion.noise import source_noise
from pipeline.diffusion.sample import sample_latents
from pipeline.models.diffusers.denoiser import DiffusersDenoiser
from tests.models.diffusers.tiny import (
    TEXT_LENGTH,
    edit,
    load,
    tiny_pipeline,
)

CPU = torch.device("cpu")
PROMPTS = ["a red circle", "blue", ""]
LONG = "big " * 20


@pytest.mark.parametrize("scale", [1.0, 5.5])
def test_images_equal_those_of_the_pipelines_call(folder: Path, scale: float) -> None:
    denoiser: Denoiser = load(folder)
    prompts = denoiser.encode_prompts(PROMPTS)
    x_T = torch.stack([source_noise(seed, denoiser.latent_shape) for seed in range(3)])
    images = denoiser.decode(sample_latents(denoiser, prompts, x_T, 10, scale))
    pipe = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    expected = pipe(
        prompt_embeds=prompts.conditional.tensors["encoder_hidden_states"],
        negative_prompt_embeds=prompts.unconditional.tensors["encoder_hidden_states"],
        latents=x_T,
        num_inference_steps=10,
        guidance_scale=scale,
        height=16,
        width=16,
        output_type="pt",
    ).images
    assert images.shape == (3, 3, 16, 16)
    assert images.std() > 0.01
    torch.testing.assert_close(images, expected, rtol=0, atol=1e-5)


def test_prompts_are_encoded_as_the_pipeline_encodes_them(epsilon_folder: Path) -> None:
    pipe = StableDiffusionPipeline.from_pretrained(epsilon_folder, safety_checker=None)
    embeds, negative = pipe.encode_prompt(PROMPTS, CPU, 1, True)
    encoded = load(epsilon_folder).encode_prompts(PROMPTS)
    for conditioning, expected in (
        (encoded.conditional, embeds),
        (encoded.unconditional, negative),
    ):
        actual = conditioning.tensors["encoder_hidden_states"]
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


def test_an_encoding_does_not_depend_on_the_rest_of_the_batch(epsilon_folder: Path) -> None:
    denoiser = load(epsilon_folder)
    batch = denoiser.encode_prompts([*PROMPTS, LONG])
    for row, prompt in enumerate([*PROMPTS, LONG]):
        alone = denoiser.encode_prompts([prompt])
        for name in ("conditional", "unconditional"):
            expected = getattr(batch.take([row]), name).tensors["encoder_hidden_states"]
            assert expected.shape == (1, TEXT_LENGTH, 32)
            actual = getattr(alone, name).tensors["encoder_hidden_states"]
            assert torch.equal(actual, expected)


def test_a_prompt_is_flagged_exactly_when_it_is_truncated(epsilon_folder: Path) -> None:
    fits = "x " * (TEXT_LENGTH - 2)  # start and end tokens take two places
    encoded = load(epsilon_folder).encode_prompts(["", fits, fits + "x", LONG])
    assert encoded.truncated == (False, False, True, True)


def test_latents_and_output_stay_float32_when_the_network_is_bfloat16(epsilon_folder: Path) -> None:
    denoiser = DiffusersDenoiser.load(epsilon_folder, device=CPU, dtype=torch.bfloat16)
    prompts = denoiser.encode_prompts(["a red circle"])
    x_T = source_noise(0, denoiser.latent_shape)[None]
    timestep = denoiser.schedule(2).timesteps[0]
    output = denoiser.predict(x_T, timestep, prompts.conditional)
    image = denoiser.decode(sample_latents(denoiser, prompts, x_T, 2, 1.0))
    reference = load(epsilon_folder)
    assert reference.schedule(2) == denoiser.schedule(2)
    conditioning = reference.encode_prompts(["a red circle"]).conditional
    expected = reference.predict(x_T, timestep, conditioning)
    assert denoiser._pipe.unet.dtype == denoiser._pipe.vae.dtype == torch.bfloat16
    assert output.dtype == image.dtype == torch.float32
    assert (output - expected).norm() < 0.05 * expected.norm()


def test_decoding_keeps_nan_and_stays_within_the_range_of_images(epsilon_folder: Path) -> None:
    denoiser = load(epsilon_folder)
    latents = 100 * torch.stack([source_noise(seed, denoiser.latent_shape) for seed in range(2)])
    latents[1, 0, 0, 0] = float("nan")
    images = denoiser.decode(latents)
    assert images[0].min() >= 0
    assert images[0].max() <= 1
    assert images[1].isnan().any()


@pytest.mark.parametrize("order", [(True, False), (False, True), (False, False)])
def test_calls_work_in_and_out_of_inference_mode_in_any_order(
    epsilon_folder: Path, order: tuple[bool, bool]
) -> None:
    with torch.inference_mode(order[0]):
        denoiser = load(epsilon_folder)
        prompts = denoiser.encode_prompts(PROMPTS)
        x_T = torch.stack([source_noise(seed, denoiser.latent_shape) for seed in range(3)])
    with torch.inference_mode(order[1]):
        latents = sample_latents(denoiser, prompts.take([2, 0, 1]), x_T, 2, 2.0)
        images = denoiser.decode(latents)
    assert not latents.requires_grad
    assert images.isfinite().all()


def test_image_size_decides_the_latent_shape(epsilon_folder: Path) -> None:
    assert load(epsilon_folder).latent_shape == (4, 8, 8)
    assert load(epsilon_folder, height=32, width=24).latent_shape == (4, 16, 12)
    with pytest.raises(
        ModelError, match="asked for images of 17 × 16 pixels, the model makes 16 × 16"
    ):
        load(epsilon_folder, height=17)


def test_loading_shows_no_progress_bar_and_leaves_the_setting(
    epsilon_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    diffusers_logging.enable_progress_bar()
    denoiser = load(epsilon_folder)
    denoiser.encode_prompts(["a"])
    assert "%|" not in capfd.readouterr().err
    assert diffusers_logging.is_progress_bar_enabled()


def test_a_missing_folder_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nowhere: no such model folder"):
        load(tmp_path / "nowhere")


def test_a_folder_without_an_index_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"model_index\.json.*StableDiffusionPipeline"):
        load(tmp_path)


def test_an_unsupported_pipeline_class_is_rejected_with_the_supported_ones(broken: Path) -> None:
    edit(broken / "model_index.json", _class_name="KandinskyPipeline")
    with pytest.raises(ModelError, match=r"'KandinskyPipeline'.*supported: StableDiffusionPipel"):
        load(broken)


@pytest.mark.parametrize("name", [["pipeline", "StableDiffusionPipeline"], [], {}, None, 3])
def test_a_malformed_class_name_is_rejected(broken: Path, name: object) -> None:
    """diffusers writes a list for a pipeline whose code comes with the model."""
    edit(broken / "model_index.json", _class_name=name)
    expected = "custom code.* never run" if isinstance(name, list) and name else "supported"
    with pytest.raises(ModelError, match=rf"model_index\.json: class .*{expected}"):
        load(broken)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "model_index.json").write_text("{"),
        lambda folder: (folder / "model_index.json").write_text("[]"),
        lambda folder: shutil.rmtree(folder / "unet"),
        lambda folder: shutil.rmtree(folder / "tokenizer"),
        lambda folder: (folder / "unet/diffusion_pytorch_model.safetensors").write_bytes(b"cut"),
        lambda folder: (folder / "text_encoder/model.safetensors").unlink(),
        lambda folder: (folder / "vae/config.json").write_text("{"),
        lambda folder: edit(folder / "unet/config.json", block_out_channels=[8, 16]),
    ],
    ids=["index", "list", "unet", "tokenizer", "cut", "weights", "json", "shapes"],
)
def test_a_damaged_folder_raises_a_model_error_with_its_path(
    broken: Path, damage: Callable[[Path], object]
) -> None:
    damage(broken)
    with pytest.raises(ModelError, match=str(broken)):
        load(broken)


def test_a_network_with_other_inputs_than_latents_and_text_is_rejected() -> None:
    pipe = tiny_pipeline()
    pipe.unet.conv_in = torch.nn.Conv2d(9, 16, 3, padding=1)
    pipe.unet.register_to_config(in_channels=9)
    with pytest.raises(ModelError, match="inpainting"):
        DiffusersDenoiser(pipe, "tiny")
    pipe = tiny_pipeline()
    pipe.unet.register_to_config(time_cond_proj_dim=32)
    with pytest.raises(ModelError, match="time_cond_proj_dim"):
        DiffusersDenoiser(pipe, "tiny")
