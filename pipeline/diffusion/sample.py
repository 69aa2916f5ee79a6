"""Sampling of clean latents: DDIM with η = 0, Euler for flows, or the model's scheduler.

Latents are kept in float32.
"""

from typing import TYPE_CHECKING

from torch import Tensor

from pipeline.config.sections import Scheduler
from pipeline.diffusion.guidance import forward_evaluations, guided_prediction

if TYPE_CHECKING:
    from pipeline.diffusion.denoiser import Denoiser, EncodedPrompts, Guidance


def sample_evaluations(
    num_inference_steps: int, guidance_scale: float, guidance: "Guidance"
) -> int:
    """Return the forward evaluations for one sample."""
    return num_inference_steps * forward_evaluations(guidance_scale, guidance)


def sample_latents(
    denoiser: "Denoiser",
    prompts: "EncodedPrompts",
    x_T: Tensor,
    num_inference_steps: int,
    guidance_scale: float,
    scheduler: Scheduler = "ddim",
    guidance_rescale: float = 0.0,
) -> Tensor:
    """Return clean latents, float32 (B, ...), for the initial noises ``x_T``, one prompt each."""
    if scheduler == "model":
        return _sample_with_model_scheduler(
            denoiser, prompts, x_T, num_inference_steps, guidance_scale, guidance_rescale
        )
    schedule = denoiser.schedule(num_inference_steps)
    latents = x_T
    for step, timestep in enumerate(schedule.timesteps):
        output = guided_prediction(
            denoiser, latents, timestep, prompts, guidance_scale, guidance_rescale
        )
        latents = schedule.denoise(latents, output, step)
    return latents


def _sample_with_model_scheduler(
    denoiser: "Denoiser",
    prompts: "EncodedPrompts",
    x_T: Tensor,
    num_inference_steps: int,
    guidance_scale: float,
    guidance_rescale: float,
) -> Tensor:
    # A multistep scheduler remembers earlier outputs, so each batch needs a fresh run.
    run = denoiser.native_scheduler(num_inference_steps)
    latents = run.begin(x_T)
    for step, timestep in enumerate(run.timesteps):
        scaled = run.model_input(latents, step)
        output = guided_prediction(
            denoiser, scaled, timestep, prompts, guidance_scale, guidance_rescale
        )
        latents = run.denoise(latents, output, step)
    return latents
