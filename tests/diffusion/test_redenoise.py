"""Re-denoising against closed forms (Gaussian data), its costs, and settings that are refused."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from pipeline.config.proposers import Inversion, RedenoiseSettings, Spacing
from pipeline.diffusion.guidance import guided_prediction
from pipeline.diffusion.redenoise import redenoise, redenoise_evaluations
from pipeline.diffusion.schedule import Prediction, kappa, step_coefficients
from pipeline.models.diffusers.denoiser import DiffusersDenoiser
from tests.diffusion.distance import relative_errors
from tests.diffusion.gaussian import GaussianDenoiser, guided_factor

WIDTHS = [0.3, 0.6, 1.4]
PROMPTS = ["a red circle", "blue square", "z", "a small and big"]


def closed_form(denoiser: GaussianDenoiser, width: float, settings: RedenoiseSettings) -> float:
    """golden / source, by multiplying the factors of the single steps."""
    schedule = denoiser.schedule(settings.num_inference_steps, settings.timestep_spacing)
    ratio = 1.0
    for step in range(settings.num_steps):
        noisy, clean = schedule.step_levels(step)
        p, q = step_coefficients(denoiser.prediction, noisy, clean)
        down, up = (
            guided_factor(denoiser.prediction, noisy, width, denoiser.unconditional_width, scale)
            for scale in (settings.guidance_scale, settings.inversion_guidance_scale)
        )
        undo = 1 / (p + q * up) if settings.inversion == "exact" else (1 - q * up) / p
        ratio *= (p + q * down) * undo
    return ratio


def steepness(denoiser: GaussianDenoiser, width: float, settings: RedenoiseSettings) -> float:
    """The factor by which the worst step's fixed-point iteration stretches an error."""
    schedule = denoiser.schedule(settings.num_inference_steps, settings.timestep_spacing)
    factors = []
    for step in range(settings.num_steps):
        noisy, clean = schedule.step_levels(step)
        p, q = step_coefficients(denoiser.prediction, noisy, clean)
        scale, other = settings.inversion_guidance_scale, denoiser.unconditional_width
        up = guided_factor(denoiser.prediction, noisy, width, other, scale)
        factors.append(abs(q * up / p))
    return max(factors)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "flow"])
@pytest.mark.parametrize("inversion", ["first_order", "exact"])
@pytest.mark.parametrize(("num_steps", "num_inference_steps"), [(1, 10), (3, 10), (10, 20), (4, 4)])
@pytest.mark.parametrize(("down", "up"), [(5.5, 1.0), (3.0, 0.0), (1.0, 1.0), (2.0, 1.5)])
def test_redenoise_of_gaussian_data_is_the_closed_form(
    noises: Callable[..., Tensor],
    prediction: Prediction,
    inversion: Inversion,
    num_steps: int,
    num_inference_steps: int,
    down: float,
    up: float,
) -> None:
    denoiser = GaussianDenoiser(prediction)
    settings = RedenoiseSettings(
        num_inference_steps=num_inference_steps,
        num_steps=num_steps,
        guidance_scale=down,
        inversion_guidance_scale=up,
        inversion=inversion,
        tolerance=1e-12,
        max_iterations=500,
    )
    x_T = noises(3, denoiser.latent_shape).double()
    result = redenoise(denoiser, denoiser.encode_widths(WIDTHS), x_T, settings)
    for row, width in enumerate(WIDTHS):
        solvable = inversion == "first_order" or steepness(denoiser, width, settings) < 1
        assert result.converged[row] == solvable
        if solvable:
            expected = closed_form(denoiser, width, settings) * x_T[row]
            torch.testing.assert_close(result.latents[row], expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize("inversion", ["first_order", "exact"])
def test_rounds_go_on_from_what_came_out_before(
    noises: Callable[..., Tensor], inversion: Inversion
) -> None:
    denoiser = GaussianDenoiser()
    settings = RedenoiseSettings(
        num_inference_steps=10, num_steps=2, guidance_scale=3.0, inversion=inversion, rounds=3
    )
    x_T = noises(3, denoiser.latent_shape).double()
    result = redenoise(denoiser, denoiser.encode_widths(WIDTHS), x_T, settings)
    for row, width in enumerate(WIDTHS):
        expected = closed_form(denoiser, width, settings) ** 3 * x_T[row]
        torch.testing.assert_close(result.latents[row], expected, rtol=1e-3, atol=0)
    down = 3 * 2 * 2 * len(x_T)
    counted = down + int(result.iterations.max()) * len(x_T)
    if inversion == "first_order":
        assert result.iterations.tolist() == [6, 6, 6]
        assert sum(denoiser.calls) == counted
        assert sum(denoiser.calls) == 3 * redenoise_evaluations(settings, "classifier_free")


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_redenoise_in_another_spacing_is_the_closed_form_of_its_levels(
    noises: Callable[..., Tensor], spacing: Spacing
) -> None:
    denoiser = GaussianDenoiser("epsilon")
    settings = RedenoiseSettings(
        num_inference_steps=10, guidance_scale=5.5, num_steps=3, timestep_spacing=spacing
    )
    x_T = noises(3, denoiser.latent_shape).double()
    prompts = denoiser.encode_widths(WIDTHS)
    golden = redenoise(denoiser, prompts, x_T, settings).latents
    for row, width in enumerate(WIDTHS):
        expected = closed_form(denoiser, width, settings) * x_T[row]
        torch.testing.assert_close(golden[row], expected, rtol=1e-9, atol=0)
    default = RedenoiseSettings(num_inference_steps=10, guidance_scale=5.5, num_steps=3)
    assert not torch.equal(golden, redenoise(denoiser, prompts, x_T, default).latents)


def test_one_first_order_step_moves_the_noise_by_kappa(
    gentle_denoiser: DiffusersDenoiser, noises: Callable[..., Tensor]
) -> None:
    settings = RedenoiseSettings(num_inference_steps=10, guidance_scale=5.5)
    prompts = gentle_denoiser.encode_prompts(PROMPTS)
    x_T = noises(4, gentle_denoiser.latent_shape)
    schedule = gentle_denoiser.schedule(10)
    t, (noisy, clean) = schedule.timesteps[0], schedule.step_levels(0)
    p, q = step_coefficients("epsilon", noisy, clean)
    eps_den = guided_prediction(gentle_denoiser, x_T, t, prompts, 5.5)
    eps_inv = gentle_denoiser.predict(p * x_T + q * eps_den, t, prompts.conditional)
    golden = redenoise(gentle_denoiser, prompts, x_T, settings).latents
    expected = x_T + kappa("epsilon", noisy, clean) * (eps_inv - eps_den)
    assert relative_errors(golden, expected).max() <= 1e-6
    assert relative_errors(golden, x_T).min() > 0.01


@pytest.mark.parametrize("shape", [(5,), (4, 8, 8), (2, 3, 4, 4), (16, 3, 2, 2, 2)])
def test_redenoise_takes_latents_of_any_rank(
    noises: Callable[..., Tensor], shape: tuple[int, ...]
) -> None:
    denoiser = GaussianDenoiser(latent_shape=shape)
    result = redenoise(
        denoiser,
        denoiser.encode_widths([0.5, 0.7]),
        noises(2, shape),
        RedenoiseSettings(num_inference_steps=10, guidance_scale=5.5, inversion="exact"),
    )
    assert result.latents.shape == (2, *shape)
    assert result.latents.dtype == torch.float32
    assert result.converged.dtype == torch.bool
    assert result.residual.dtype == torch.float32


@pytest.mark.parametrize(("down", "up"), [(5.5, 1.0), (3.0, 2.0), (1.0, 1.0), (5.5, 0.0)])
def test_redenoise_evaluations_are_counted_right(
    noises: Callable[..., Tensor], down: float, up: float
) -> None:
    denoiser = GaussianDenoiser()
    settings = RedenoiseSettings(
        num_inference_steps=10, num_steps=3, guidance_scale=down, inversion_guidance_scale=up
    )
    redenoise(denoiser, denoiser.encode_widths(WIDTHS), noises(3, (2, 3)), settings)
    assert sum(denoiser.calls) == 3 * redenoise_evaluations(settings, "classifier_free")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_inference_steps", 0),
        ("num_steps", 0),
        ("num_steps", 11),
        ("guidance_scale", float("nan")),
        ("inversion_guidance_scale", float("inf")),
        ("inversion", "second_order"),
        ("tolerance", 0.0),
        ("tolerance", float("nan")),
        ("max_iterations", 0),
        ("rounds", 0),
    ],
)
def test_settings_that_are_impossible_are_refused_by_name(field: str, value: Any) -> None:
    settings = {"num_inference_steps": 10, "guidance_scale": 5.5, field: value}
    with pytest.raises(ValidationError, match=field):
        RedenoiseSettings.model_validate(settings)


def test_golden_noise_of_published_settings_is_a_pull_along_the_guidance_direction(
    noises: Callable[..., Tensor],
) -> None:
    """To first order in κ, x' = x - κ·(ω_l - ω_w)·(ε_c - ε_u)."""
    denoiser = GaussianDenoiser()
    width, x_T = 0.5, noises(1, (2, 3)).double()
    errors = []
    for steps in (50, 200):
        settings = RedenoiseSettings(num_inference_steps=steps, guidance_scale=5.5)
        golden = redenoise(denoiser, denoiser.encode_widths([width]), x_T, settings).latents
        noisy, clean = denoiser.schedule(steps).step_levels(0)
        c, u = (guided_factor("epsilon", noisy, w, w, 1) for w in (width, 0.9))
        pull = -kappa("epsilon", noisy, clean) * 4.5 * (c - u) * x_T
        errors.append(float((golden - x_T - pull).norm() / pull.norm()))
    assert all(finer < coarser / 2 for coarser, finer in pairwise(errors))
