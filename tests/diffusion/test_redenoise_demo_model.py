"""The facts about exact inversion on the trained model that ships with the project."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

import pipeline.demo
from pipeline.config.proposers import RedenoiseSettings
from pipeline.diffusion.guided_step import InversionResult
from pipeline.diffusion.redenoise import redenoise
from pipeline.models.diffusers.denoiser import DiffusersDenoiser
from tests.diffusion.distance import relative_errors

FOLDER = Path(pipeline.demo.__file__).parent / "model"
PROMPTS = ["a red circle", "two blue rings", "a small green cross", "a yellow star and a red ring"]


@pytest.fixture(scope="module")
def denoiser() -> DiffusersDenoiser:
    return DiffusersDenoiser.load(FOLDER, device=torch.device("cpu"), dtype=torch.float32)


def round_trip(
    denoiser: DiffusersDenoiser, x_T: Tensor, num_steps: int, steps: int, scale: float
) -> InversionResult:
    settings = RedenoiseSettings(
        num_inference_steps=steps,
        num_steps=num_steps,
        guidance_scale=scale,
        inversion_guidance_scale=scale,
        inversion="exact",
        max_iterations=10,
    )
    return redenoise(denoiser, denoiser.encode_prompts(PROMPTS), x_T, settings)


@pytest.mark.parametrize(
    ("num_steps", "num_inference_steps"), [(1, 50), (1, 10), (3, 10), (10, 20)]
)
def test_exact_inversion_at_guidance_1_returns_the_source_noise(
    denoiser: DiffusersDenoiser,
    noises: Callable[..., Tensor],
    num_steps: int,
    num_inference_steps: int,
) -> None:
    x_T = noises(4, denoiser.latent_shape)
    result = round_trip(denoiser, x_T, num_steps, num_inference_steps, 1.0)
    assert result.converged.all()
    assert relative_errors(result.latents, x_T).max() <= 1e-4


def test_exact_inversion_of_ten_steps_at_guidance_5_5_says_which_did_not_converge(
    denoiser: DiffusersDenoiser, noises: Callable[..., Tensor]
) -> None:
    result = round_trip(denoiser, noises(4, denoiser.latent_shape), 10, 20, 5.5)
    assert not result.converged.all()
    assert torch.equal(result.converged, result.residual <= 1e-5)
