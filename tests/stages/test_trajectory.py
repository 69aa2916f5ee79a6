"""Inversion of a complete image, against closed forms and re-denoising, and its cost."""

import pytest
import torch
from torch import Tensor

from pipeline.config.proposers import InversionSettings, RedenoiseSettings
from pipeline.diffusion.noise import source_noise
from pipeline.diffusion.redenoise import redenoise
from pipeline.diffusion.sample import sample_latents
from pipeline.diffusion.schedule import Prediction, step_coefficients
from pipeline.stages.propose import ProposedNoise, Source
from pipeline.stages.proposers import Trajectory
from tests.diffusion.gaussian import GaussianDenoiser, guided_factor, sampling_factor

WIDTHS = [0.3, 0.6, 1.4]
STEPS, SCALE = 6, 2.0
"""Sampling steps and guidance scale of the image."""


def propose(
    denoiser: GaussianDenoiser, settings: InversionSettings, rows: list[int]
) -> tuple[Source, ProposedNoise, Trajectory]:
    prompts = denoiser.encode_widths([WIDTHS[row] for row in rows])
    noise = torch.stack([source_noise(row, denoiser.latent_shape) for row in rows]).double()
    latents = sample_latents(denoiser, prompts, noise, STEPS, SCALE)
    denoiser.calls.clear()
    source = Source(noise=noise, latents=latents)
    proposer = Trajectory(settings=settings, num_inference_steps=STEPS, guidance=denoiser.guidance)
    (proposed,) = proposer.propose(denoiser, prompts, source)
    return source, proposed, proposer


def up_factor(denoiser: GaussianDenoiser, width: float, scale: float) -> float:
    """Noise / clean latents, by first-order inversions."""
    schedule = denoiser.schedule(STEPS)
    ratio = 1.0
    for step in range(STEPS):
        noisy, clean = schedule.step_levels(step)
        p, q = step_coefficients(denoiser.prediction, noisy, clean)
        other = denoiser.unconditional_width
        ratio *= (1 - q * guided_factor(denoiser.prediction, noisy, width, other, scale)) / p
    return ratio


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "flow"])
@pytest.mark.parametrize("scale", [0.0, 1.0, 1.5])
def test_trajectory_of_gaussian_data_is_the_closed_form(
    prediction: Prediction, scale: float
) -> None:
    denoiser = GaussianDenoiser(prediction)
    settings = InversionSettings(inversion_guidance_scale=scale)
    source, proposed, _ = propose(denoiser, settings, [0, 1, 2])
    for row, width in enumerate(WIDTHS):
        factor = sampling_factor(denoiser, width, STEPS, SCALE) * up_factor(denoiser, width, scale)
        expected = factor * source.noise[row]
        torch.testing.assert_close(proposed.golden_noise[row], expected, rtol=1e-9, atol=0)


def test_trajectory_is_redenoising_by_all_steps_and_pays_for_the_way_up_alone() -> None:
    denoiser = GaussianDenoiser()
    source, proposed, proposer = propose(denoiser, InversionSettings(), [0, 1, 2])
    assert sum(denoiser.calls) == 3 * STEPS == 3 * proposer.evaluations
    assert proposed.forward_evaluations == (STEPS,) * 3
    settings = RedenoiseSettings(num_inference_steps=STEPS, num_steps=STEPS, guidance_scale=SCALE)
    full = redenoise(denoiser, denoiser.encode_widths(WIDTHS), source.noise, settings)
    assert torch.equal(proposed.golden_noise, full.latents)


def test_trajectory_exactly_inverted_at_the_images_scale_is_the_source_noise() -> None:
    denoiser = GaussianDenoiser("flow")
    settings = InversionSettings(
        inversion_guidance_scale=SCALE, inversion="exact", tolerance=1e-12, max_iterations=200
    )
    source, proposed, proposer = propose(denoiser, settings, [0, 1])
    assert proposed.converged == (True, True)
    torch.testing.assert_close(proposed.golden_noise, source.noise, rtol=1e-6, atol=1e-9)
    # 2 evaluations an iteration; the batch goes on until its last row has converged.
    assert max(proposed.forward_evaluations) <= sum(denoiser.calls) / 2
    assert max(proposed.forward_evaluations) <= proposer.evaluations == STEPS * 200 * 2


def test_trajectory_of_a_row_does_not_depend_on_its_batch() -> None:
    denoiser = GaussianDenoiser()
    settings = InversionSettings(inversion="exact", tolerance=1e-9)
    _, full, _ = propose(denoiser, settings, [0, 1, 2])
    _, part, _ = propose(denoiser, settings, [2, 0])
    assert torch.equal(part.golden_noise, _rows(full.golden_noise, [2, 0]))
    assert part.forward_evaluations == tuple(full.forward_evaluations[row] for row in (2, 0))


def _rows(noise: Tensor, rows: list[int]) -> Tensor:
    return noise[rows]
