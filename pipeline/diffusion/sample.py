"""Clean latents from initial noise: DDIM with η = 0 or Euler along a flow, or the model's own way.

The state is kept in float32.
"""

from typing import TYPE_CHECKING, Literal

from torch import Tensor

from pipeline.diffusion.guidance import forward_evaluations, guided_prediction

if TYPE_CHECKING:
    from pipeline.diffusion.denoiser import Denoiser, EncodedPrompts, Guidance

Scheduler = Literal["ddim", "model"]
"""A deterministic step of first order, or the scheduler that the model came with."""


def sample_evaluations(
    num_inference_steps: int, guidance_scale: float, guidance: "Guidance"
) -> int:
    """Forward evaluations for one sample."""
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
    """Clean latents, float32 (B, ...), of the initial noises ``x_T``, one prompt for each."""
    if scheduler == "model":
        return _sample_with_own_scheduler(
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


def _sample_with_own_scheduler(
    denoiser: "Denoiser",
    prompts: "EncodedPrompts",
    x_T: Tensor,
    num_inference_steps: int,
    guidance_scale: float,
    guidance_rescale: float,
) -> Tensor:
    run = denoiser.own_scheduler(num_inference_steps)
    latents = run.begin(x_T)
    for step, timestep in enumerate(run.timesteps):
        told = run.model_input(latents, step)
        output = guided_prediction(
            denoiser, told, timestep, prompts, guidance_scale, guidance_rescale
        )
        latents = run.denoise(latents, output, step)
    return latents
