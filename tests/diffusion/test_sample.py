"""Sampling against the closed form of Gaussian data and the probability-flow ODE behind it."""

from collections.abc import Callable
from math import hypot

import pytest
import torch
from torch import Tensor

from pipeline.diffusion.sample import sample_evaluations, sample_latents
from pipeline.diffusion.schedule import NoiseLevel, Prediction
from pipeline.models.diffusers.denoiser import DiffusersDenoiser
from tests.diffusion.gaussian import GaussianDenoiser, sampling_factor


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "flow"])
@pytest.mark.parametrize("scale", [0.0, 1.0, 5.5])
@pytest.mark.parametrize("steps", [1, 10])
def test_sampling_gaussian_data_multiplies_the_factors_of_the_steps(
    noises: Callable[..., Tensor], prediction: Prediction, scale: float, steps: int
) -> None:
    denoiser = GaussianDenoiser(prediction)
    x_T = noises(1, (2, 3)).double()
    latents = sample_latents(denoiser, denoiser.encode_widths([0.5]), x_T, steps, scale)
    expected = sampling_factor(denoiser, 0.5, steps, scale) * x_T
    torch.testing.assert_close(latents, expected, rtol=1e-10, atol=0)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "flow"])
@pytest.mark.parametrize("width", [0.3, 0.8, 1.5])
def test_many_steps_reach_the_solution_of_the_probability_flow_ode(
    noises: Callable[..., Tensor], prediction: Prediction, width: float
) -> None:
    """The flow carries N(0, a²w² + s²) at one level into that of another: x scales as its std."""
    denoiser = GaussianDenoiser(prediction)
    prompts, x_T = denoiser.encode_widths([width]), noises(1, (2, 3)).double()

    def std(level: NoiseLevel) -> float:
        return hypot(level.signal * width, level.noise)

    def error(steps: int) -> float:
        levels = denoiser.schedule(steps).levels
        exact = std(levels[-1]) / std(levels[0]) * x_T
        return float((sample_latents(denoiser, prompts, x_T, steps, 1.0) - exact).norm())

    # DDIM is of first order: half the step, half the error.
    assert error(1000) < 0.01 * float(x_T.norm()) * width
    assert error(250) / error(500) == pytest.approx(2, rel=0.1)
    assert error(500) / error(1000) == pytest.approx(2, rel=0.1)


def test_sampling_returns_the_same_latents_whatever_else_is_in_the_batch(
    gentle_denoiser: DiffusersDenoiser, noises: Callable[..., Tensor]
) -> None:
    prompts = gentle_denoiser.encode_prompts(["a red circle", "blue", "z"])
    x_T = noises(3, gentle_denoiser.latent_shape)
    full = sample_latents(gentle_denoiser, prompts, x_T, 5, 2.0)
    for rows in ([0], [2], [2, 0, 1]):
        part = sample_latents(gentle_denoiser, prompts.take(rows), x_T[rows], 5, 2.0)
        torch.testing.assert_close(part, full[rows], rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("scale", [0.0, 1.0, 5.5])
def test_sample_evaluations_are_counted_right(noises: Callable[..., Tensor], scale: float) -> None:
    denoiser = GaussianDenoiser()
    prompts = denoiser.encode_widths([0.5, 0.6])
    sample_latents(denoiser, prompts, noises(2, (2, 3)), 10, scale)
    assert sum(denoiser.calls) == 2 * sample_evaluations(10, scale, "classifier_free")
