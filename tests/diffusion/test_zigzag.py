"""Zigzag against closed forms, a straight-line reference and re-denoising, and its costs."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline.config.proposers import Inversion, RedenoiseSettings, ZigzagSettings
from pipeline.diffusion.redenoise import redenoise, zigzag, zigzag_evaluations
from pipeline.diffusion.schedule import Prediction, step_coefficients
from pipeline.models.diffusers.denoiser import DiffusersDenoiser
from tests.diffusion.distance import relative_errors
from tests.diffusion.gaussian import GaussianDenoiser, guided_factor

WIDTHS = [0.3, 0.6, 1.4]
PROMPTS = ["a red circle", "blue square", "z", "a small and big"]


def closed_form(denoiser: GaussianDenoiser, width: float, settings: ZigzagSettings) -> float:
    """golden / source: two steps down and two up at each level, as if each undid the other."""
    schedule = denoiser.schedule(settings.num_inference_steps)
    ratio = 1.0
    for step in range(settings.num_steps):
        noisy, clean = schedule.step_levels(step)
        p, q = step_coefficients(denoiser.prediction, noisy, clean)
        down, up = (
            guided_factor(denoiser.prediction, noisy, width, denoiser.unconditional_width, scale)
            for scale in (settings.guidance_scale, settings.inversion_guidance_scale)
        )
        undo = 1 / (p + q * up) if settings.inversion == "exact" else (1 - q * up) / p
        ratio *= ((p + q * down) * undo) ** 2
    return ratio


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "flow"])
@pytest.mark.parametrize("inversion", ["first_order", "exact"])
@pytest.mark.parametrize(("down", "up"), [(2.0, 1.0), (1.5, 0.0)])
def test_zigzag_of_gaussian_data_is_the_closed_form(
    noises: Callable[..., Tensor],
    prediction: Prediction,
    inversion: Inversion,
    down: float,
    up: float,
) -> None:
    denoiser = GaussianDenoiser(prediction)
    settings = ZigzagSettings(
        num_inference_steps=20,
        num_steps=3,
        guidance_scale=down,
        inversion_guidance_scale=up,
        inversion=inversion,
        tolerance=1e-12,
        max_iterations=500,
    )
    x_T = noises(3, denoiser.latent_shape).double()
    result = zigzag(denoiser, denoiser.encode_widths(WIDTHS), x_T, settings)
    assert result.converged.all()
    for row, width in enumerate(WIDTHS):
        expected = closed_form(denoiser, width, settings) * x_T[row]
        torch.testing.assert_close(result.latents[row], expected, rtol=1e-9, atol=0)


def test_zigzag_is_what_its_formula_says_line_by_line(
    gentle_denoiser: DiffusersDenoiser, noises: Callable[..., Tensor]
) -> None:
    """Two steps of ten, first order, ω_l = 3 and ω_w = 1, with ᾱ and ε alone."""
    prompts = gentle_denoiser.encode_prompts(PROMPTS)
    schedule = gentle_denoiser.schedule(10)
    t, levels = schedule.timesteps, schedule.levels

    def eps(x: Tensor, j: int, scale: float) -> Tensor:
        c = gentle_denoiser.predict(x, t[j], prompts.conditional)
        u = gentle_denoiser.predict(x, t[j], prompts.unconditional)
        return u + scale * (c - u)

    def moved(x: Tensor, noise: Tensor, i: int, j: int) -> Tensor:
        (a, s), (a_to, s_to) = levels[i], levels[j]
        return a_to * (x - s * noise) / a + s_to * noise

    def down(x: Tensor, j: int) -> Tensor:
        return moved(x, eps(x, j, 3.0), j, j + 1)

    def up(x: Tensor, j: int) -> Tensor:
        return moved(x, eps(x, j, 1.0), j + 1, j)

    x_T = noises(4, gentle_denoiser.latent_shape)
    x_1 = down(up(down(x_T, 0), 0), 0)
    x_2 = down(up(down(x_1, 1), 1), 1)
    expected = up(up(x_2, 1), 0)
    settings = ZigzagSettings(num_inference_steps=10, num_steps=2, guidance_scale=3.0)
    found = zigzag(gentle_denoiser, prompts, x_T, settings)
    assert relative_errors(found.latents, expected).max() <= 1e-5
    assert relative_errors(found.latents, x_T).min() > 0.01


@pytest.mark.parametrize("inversion", ["first_order", "exact"])
def test_zigzag_of_one_step_is_redenoising_in_two_rounds(
    noises: Callable[..., Tensor], inversion: Inversion
) -> None:
    denoiser = GaussianDenoiser()
    prompts = denoiser.encode_widths(WIDTHS)
    x_T = noises(3, denoiser.latent_shape)
    common: dict[str, Any] = {
        "num_inference_steps": 10,
        "guidance_scale": 2.0,
        "inversion": inversion,
    }
    found = zigzag(denoiser, prompts, x_T, ZigzagSettings(**common))
    twice = redenoise(denoiser, prompts, x_T, RedenoiseSettings(**common, rounds=2))
    for name in ("latents", "converged", "residual", "iterations"):
        assert torch.equal(getattr(found, name), getattr(twice, name)), name


@pytest.mark.parametrize(("down", "up"), [(5.5, 1.0), (1.0, 2.0)])
def test_zigzag_evaluations_are_counted_right(
    noises: Callable[..., Tensor], down: float, up: float
) -> None:
    denoiser = GaussianDenoiser()
    settings = ZigzagSettings(
        num_inference_steps=10, num_steps=3, guidance_scale=down, inversion_guidance_scale=up
    )
    result = zigzag(denoiser, denoiser.encode_widths(WIDTHS), noises(3, (2, 3)), settings)
    assert sum(denoiser.calls) == 3 * zigzag_evaluations(settings, "classifier_free")
    assert result.iterations.tolist() == [6, 6, 6]


def test_zigzag_of_a_sample_does_not_depend_on_its_batch(
    gentle_denoiser: DiffusersDenoiser, noises: Callable[..., Tensor]
) -> None:
    settings = ZigzagSettings(
        num_inference_steps=10, num_steps=2, guidance_scale=3.0, inversion="exact"
    )
    prompts = gentle_denoiser.encode_prompts(PROMPTS)
    x_T = noises(4, gentle_denoiser.latent_shape)
    full = zigzag(gentle_denoiser, prompts, x_T, settings)
    for rows in ([2], [3, 0, 1]):
        part = zigzag(gentle_denoiser, prompts.take(rows), x_T[rows], settings)
        assert relative_errors(part.latents, full.latents[rows]).max() <= 1e-5
        assert torch.equal(part.converged, full.converged[rows])


def test_zigzag_of_a_noise_that_is_not_finite_says_so_and_leaves_the_others(
    noises: Callable[..., Tensor],
) -> None:
    denoiser = GaussianDenoiser()
    prompts = denoiser.encode_widths(WIDTHS)
    x_T = noises(3, denoiser.latent_shape)
    settings = ZigzagSettings(num_inference_steps=10, num_steps=2, guidance_scale=2.0)
    expected = zigzag(denoiser, prompts, x_T, settings).latents
    x_T[1, 0, 0] = float("nan")
    result = zigzag(denoiser, prompts, x_T, settings)
    assert result.converged.tolist() == [True, False, True]
    assert torch.equal(result.latents[[0, 2]], expected[[0, 2]])
