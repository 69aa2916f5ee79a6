"""Exact inversion: it undoes the steps, or reports each sample that did not converge."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pipeline.config.proposers import RedenoiseSettings
from pipeline.diffusion.redenoise import redenoise, redenoise_evaluations
from pipeline.diffusion.schedule import kappa
from pipeline.models.diffusers.denoiser import DiffusersDenoiser
from tests.diffusion.distance import relative_errors
from tests.diffusion.gaussian import GaussianDenoiser, guided_factor

WIDTHS = [0.3, 0.6, 1.4]
PROMPTS = ["a red circle", "blue square", "z", "a small and big"]


@pytest.mark.parametrize(
    ("num_steps", "num_inference_steps"), [(1, 50), (1, 10), (3, 10), (10, 20)]
)
def test_exact_inversion_at_guidance_1_returns_the_source_noise(
    gentle_denoiser: DiffusersDenoiser,
    noises: Callable[..., Tensor],
    num_steps: int,
    num_inference_steps: int,
) -> None:
    x_T = noises(4, gentle_denoiser.latent_shape)
    result = redenoise(
        gentle_denoiser,
        gentle_denoiser.encode_prompts(PROMPTS),
        x_T,
        RedenoiseSettings(
            num_inference_steps=num_inference_steps,
            num_steps=num_steps,
            guidance_scale=1.0,
            inversion="exact",
        ),
    )
    assert result.converged.all()
    assert (result.residual <= 1e-5).all()
    assert relative_errors(result.latents, x_T).max() <= 1e-4


def test_first_order_inversion_does_not_return_the_source_noise(
    gentle_denoiser: DiffusersDenoiser, noises: Callable[..., Tensor]
) -> None:
    settings = RedenoiseSettings(num_inference_steps=20, num_steps=10, guidance_scale=1.0)
    x_T = noises(4, gentle_denoiser.latent_shape)
    prompts = gentle_denoiser.encode_prompts(PROMPTS)
    result = redenoise(gentle_denoiser, prompts, x_T, settings)
    assert relative_errors(result.latents, x_T).min() > 1e-3
    assert result.iterations.tolist() == [10] * 4


def test_exact_redenoise_is_the_same_for_the_epsilon_and_the_v_form_of_one_model(
    noises: Callable[..., Tensor],
) -> None:
    settings = RedenoiseSettings(
        num_inference_steps=10,
        guidance_scale=5.5,
        num_steps=3,
        inversion="exact",
        tolerance=1e-12,
        max_iterations=500,
    )
    x_T = noises(3, (2, 3)).double()
    results = []
    for denoiser in (GaussianDenoiser("epsilon"), GaussianDenoiser("v_prediction")):
        prompts = denoiser.encode_widths(WIDTHS)
        results.append(redenoise(denoiser, prompts, x_T, settings).latents)
    torch.testing.assert_close(*results, rtol=1e-9, atol=0)


def test_exact_inversion_at_guidance_5_5_says_that_it_did_not_converge(
    steep_denoiser: DiffusersDenoiser, noises: Callable[..., Tensor]
) -> None:
    settings = RedenoiseSettings(
        num_inference_steps=20,
        guidance_scale=5.5,
        num_steps=10,
        inversion_guidance_scale=5.5,
        inversion="exact",
        max_iterations=30,
    )
    x_T = noises(4, steep_denoiser.latent_shape)
    prompts = steep_denoiser.encode_prompts(PROMPTS)
    result = redenoise(steep_denoiser, prompts, x_T, settings)
    assert not result.converged.all()
    assert torch.equal(result.converged, result.residual <= settings.tolerance)
    # Both scales are equal here, so the truth is known and the flags can be held against it.
    assert (relative_errors(result.latents, x_T)[result.converged] <= 1e-4).all()
    assert relative_errors(result.latents, x_T)[~result.converged].max() > 1e-2


def test_convergence_is_reported_for_each_sample(noises: Callable[..., Tensor]) -> None:
    """A gain makes ε a steeper function of x; the iteration contracts while |κ·slope| < 1."""
    denoiser = GaussianDenoiser()
    settings = RedenoiseSettings(
        num_inference_steps=10, guidance_scale=1.0, inversion="exact", max_iterations=60
    )
    gains = [1.0, 4.0, 1.5, 1e4]
    prompts = denoiser.encode_widths([0.5] * 4, gains)
    noisy, clean = denoiser.schedule(10).step_levels(0)
    slope = kappa("epsilon", noisy, clean) * guided_factor("epsilon", noisy, 0.5, 0.5, 1)
    assert [gain * slope < 1 for gain in gains] == [True, False, True, False]
    x_T = noises(4, denoiser.latent_shape)
    result = redenoise(denoiser, prompts, x_T, settings)
    assert result.converged.tolist() == [True, False, True, False]
    assert result.latents[[0, 2]].isfinite().all()
    assert relative_errors(result.latents, x_T)[[0, 2]].max() <= 1e-4
    assert result.residual.isfinite().tolist() == [True, True, True, False]


def test_redenoise_evaluations_bound_those_of_the_exact_inversion(
    noises: Callable[..., Tensor],
) -> None:
    settings = RedenoiseSettings(
        num_inference_steps=10,
        guidance_scale=5.5,
        num_steps=2,
        inversion="exact",
        max_iterations=7,
        tolerance=1e-30,
    )
    denoiser = GaussianDenoiser()
    x_T = noises(1, (2, 3)).double()
    result = redenoise(denoiser, denoiser.encode_widths([0.5]), x_T, settings)
    assert not result.converged.any()
    assert result.iterations.tolist() == [14]
    assert sum(denoiser.calls) == redenoise_evaluations(settings, "classifier_free") == 2 * (2 + 7)
