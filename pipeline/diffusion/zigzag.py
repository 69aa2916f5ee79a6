"""Zigzag: at each of the first steps down, up and down again, then all the way up to the noise.

Zigzag Diffusion Sampling (Z-Sampling), arXiv 2412.10891, algorithm 1, goes down a step at a high
guidance scale, up at a low one and down again before it takes the next step, so that the gap
between the scales is crossed once at every level:

    x_{j+1} = D_j(U_j(D_j(x_j)))        D_j step j down at ω_l, U_j the same step up at ω_w.

It samples an image that way. Here only its first m steps are gone, and they are then inverted at
ω_w, so that what comes out is an initial noise again: x'_T = U_0(U_1(… U_{m-1}(x_m))). For m = 1
that is re-denoising of one step in two rounds. B batch.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from torch import Tensor

from pipeline.diffusion.guidance import forward_evaluations
from pipeline.diffusion.guided_step import (
    Inverted,
    inversion_evaluations,
    invert_step,
    invert_steps,
    step_down,
)
from pipeline.diffusion.redenoise import Redenoised, StepsSettings

if TYPE_CHECKING:
    from pipeline.diffusion.denoiser import Denoiser, EncodedPrompts, Guidance


def zigzag_evaluations(settings: StepsSettings, guidance: "Guidance") -> int:
    """Forward evaluations for one sample; for exact inversion the most that it can take."""
    down = forward_evaluations(settings.guidance_scale, guidance)
    up = inversion_evaluations(settings, guidance)
    return 2 * settings.num_steps * (down + up)


def zigzag(
    denoiser: "Denoiser", prompts: "EncodedPrompts", x_T: Tensor, settings: StepsSettings
) -> Redenoised:
    """Golden noise of the source noises ``x_T``, float32 (B, ...), one prompt for each.

    As in ``redenoise``, samples of a batch know nothing of each other, and nothing is raised for
    one that diverges.
    """
    schedule = denoiser.schedule(settings.num_inference_steps, settings.timestep_spacing)
    scale = settings.guidance_scale
    result = Inverted.untouched(x_T)
    for step in range(settings.num_steps):
        cleaner = step_down(denoiser, prompts, result.latents, schedule, step, scale)
        result = result.followed_by(
            invert_step(denoiser, prompts, cleaner, schedule, step, settings)
        )
        again = step_down(denoiser, prompts, result.latents, schedule, step, scale)
        result = replace(result, latents=again)
    up = invert_steps(denoiser, prompts, result.latents, schedule, settings.num_steps, settings)
    return Redenoised.of(result.followed_by(up))
