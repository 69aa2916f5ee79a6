"""No sample's golden noise depends on the others in its batch, however those fare."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pipeline.config.proposers import Inversion, RedenoiseSettings
from pipeline.diffusion.redenoise import redenoise
from pipeline.models.diffusers.denoiser import DiffusersDenoiser
from tests.diffusion.distance import relative_errors
from tests.diffusion.gaussian import GaussianDenoiser

PROMPTS = ["a red circle", "blue square", "z", "a small and big"]


@pytest.mark.parametrize("inversion", ["first_order", "exact"])
def test_a_sample_does_not_depend_on_its_batch_or_position(
    gentle_denoiser: DiffusersDenoiser, noises: Callable[..., Tensor], inversion: Inversion
) -> None:
    settings = RedenoiseSettings(
        num_inference_steps=10,
        guidance_scale=5.5,
        num_steps=3,
        inversion=inversion,
    )
    prompts = gentle_denoiser.encode_prompts(PROMPTS)
    x_T = noises(4, gentle_denoiser.latent_shape)
    full = redenoise(gentle_denoiser, prompts, x_T, settings)
    for rows in ([0], [3], [2, 1], [3, 2, 1, 0], [1, 1, 0]):
        part = redenoise(gentle_denoiser, prompts.take(rows), x_T[rows], settings)
        expected = full.latents[rows]
        assert relative_errors(part.latents, expected).max() <= 1e-5
        assert torch.equal(part.converged, full.converged[rows])


@pytest.mark.parametrize("inversion", ["first_order", "exact"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_sample_that_is_not_finite_is_reported_and_leaves_the_others_alone(
    gentle_denoiser: DiffusersDenoiser,
    noises: Callable[..., Tensor],
    inversion: Inversion,
    bad: float,
) -> None:
    settings = RedenoiseSettings(
        num_inference_steps=10,
        guidance_scale=5.5,
        num_steps=2,
        inversion=inversion,
    )
    prompts = gentle_denoiser.encode_prompts(PROMPTS)
    x_T = noises(4, gentle_denoiser.latent_shape)
    expected = redenoise(gentle_denoiser, prompts, x_T, settings)
    poisoned = x_T.clone()
    poisoned[1, 0, 0, 0] = bad
    result = redenoise(gentle_denoiser, prompts, poisoned, settings)
    assert result.converged.tolist() == [True, False, True, True]
    assert not result.latents[1].isfinite().all()
    others = [0, 2, 3]
    torch.testing.assert_close(
        result.latents[others], expected.latents[others], rtol=1e-5, atol=1e-6
    )
    assert torch.equal(result.iterations[others], expected.iterations[others])


def test_a_converged_sample_stays_as_it_is_while_others_iterate(
    noises: Callable[..., Tensor],
) -> None:
    denoiser = GaussianDenoiser()
    settings = RedenoiseSettings(
        num_inference_steps=10, num_steps=3, guidance_scale=2.0, inversion="exact", tolerance=1e-3
    )
    prompts = denoiser.encode_widths([0.5, 0.5], [1.0, 2.2])
    x_T = noises(2, denoiser.latent_shape)
    alone = redenoise(denoiser, prompts.take([0]), x_T[:1], settings)
    both = redenoise(denoiser, prompts, x_T, settings)
    assert both.iterations[1] > both.iterations[0]
    assert torch.equal(both.latents[:1], alone.latents)
    assert torch.equal(both.residual[:1], alone.residual)
    assert torch.equal(both.iterations[:1], alone.iterations)
