"""Golden noise by steps that are denoised at high guidance and inverted at low guidance.

The gap between the two guidance scales remains in the noise.

Re-denoising: "Golden Noise for Diffusion Models", arXiv 2411.09502, section 3.2, for k ≥ 1 steps:
the first k steps are denoised, then inverted.

Zigzag Diffusion Sampling (Z-Sampling), arXiv 2412.10891, algorithm 1, denoises a step at a high
guidance scale, inverts it at a low one and denoises it again before it takes the next step. The gap
between the scales so acts once at every level:

    x_{j+1} = D_j(U_j(D_j(x_j)))        D_j denoises step j at ω_l, U_j inverts it at ω_w.

The paper samples an image with these steps. Here only the first k steps are taken. They are then
inverted at ω_w, so that the result is an initial noise: x'_T = U_0(U_1(… U_{k-1}(x_k))). For k = 1
this is re-denoising of one step in two rounds.

B batch, k num_steps, N num_inference_steps.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from torch import Tensor

from pipeline.config.proposers import RedenoiseSettings, ZigzagSettings
from pipeline.diffusion.guidance import forward_evaluations
from pipeline.diffusion.guided_step import (
    InversionResult,
    inversion_evaluations,
    invert_step,
    invert_steps,
    step_down,
)

if TYPE_CHECKING:
    from pipeline.diffusion.denoiser import Denoiser, EncodedPrompts, Guidance


def redenoise_evaluations(settings: RedenoiseSettings, guidance: "Guidance") -> int:
    """Return the forward evaluations for one sample; for exact inversion the maximum."""
    down = forward_evaluations(settings.guidance_scale, guidance)
    up = inversion_evaluations(settings, guidance)
    return settings.rounds * settings.num_steps * (down + up)


def redenoise(
    denoiser: "Denoiser", prompts: "EncodedPrompts", x_T: Tensor, settings: RedenoiseSettings
) -> InversionResult:
    """Return the golden noise of the source noises ``x_T``, float32 (B, ...), one prompt each.

    Samples are independent of their batch, beyond the rounding of the network. A sample that
    diverges raises nothing; its ``converged`` is False.
    """
    # A schedule of N steps of which k are taken, not one of k steps: N decides the size of a step.
    schedule = denoiser.schedule(settings.num_inference_steps, settings.timestep_spacing)
    result = InversionResult.untouched(x_T)
    for _ in range(settings.rounds):
        latents = result.latents
        # All k steps are denoised before the first is inverted. Zigzag alternates instead.
        for step in range(settings.num_steps):
            latents = step_down(denoiser, prompts, latents, schedule, step, settings.guidance_scale)
        up = invert_steps(denoiser, prompts, latents, schedule, settings.num_steps, settings)
        result = result.followed_by(up)
    return result


def zigzag_evaluations(settings: ZigzagSettings, guidance: "Guidance") -> int:
    """Return the forward evaluations for one sample; for exact inversion the maximum."""
    down = forward_evaluations(settings.guidance_scale, guidance)
    up = inversion_evaluations(settings, guidance)
    # Each step is denoised twice. It is inverted once on the way and once at the end.
    return 2 * settings.num_steps * (down + up)


def zigzag(
    denoiser: "Denoiser", prompts: "EncodedPrompts", x_T: Tensor, settings: ZigzagSettings
) -> InversionResult:
    """Return the golden noise of the source noises ``x_T``, float32 (B, ...), one prompt each.

    As in ``redenoise``, samples are independent of their batch, and one that diverges raises
    nothing.
    """
    schedule = denoiser.schedule(settings.num_inference_steps, settings.timestep_spacing)
    scale = settings.guidance_scale
    result = InversionResult.untouched(x_T)
    for step in range(settings.num_steps):
        cleaner = step_down(denoiser, prompts, result.latents, schedule, step, scale)
        result = result.followed_by(
            invert_step(denoiser, prompts, cleaner, schedule, step, settings)
        )
        again = step_down(denoiser, prompts, result.latents, schedule, step, scale)
        # Denoising moves the latents and leaves the record of the inversions as it is.
        result = replace(result, latents=again)
    up = invert_steps(denoiser, prompts, result.latents, schedule, settings.num_steps, settings)
    return result.followed_by(up)
