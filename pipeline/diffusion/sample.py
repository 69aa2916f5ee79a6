"""Clean latents from initial noise: DDIM with η = 0, the state kept in float32."""

from typing import TYPE_CHECKING

from torch import Tensor

from pipeline.diffusion.ddim import denoise_step
from pipeline.diffusion.guidance import forward_evaluations, guided_prediction
from pipeline.diffusion.schedule import Schedule

if TYPE_CHECKING:
    from pipeline.models.denoiser import Denoiser, EncodedPrompts


def sample_evaluations(num_inference_steps: int, guidance_scale: float) -> int:
    """Forward evaluations for one sample."""
    return num_inference_steps * forward_evaluations(guidance_scale)


def sample_latents(
    denoiser: "Denoiser",
    prompts: "EncodedPrompts",
    x_T: Tensor,
    num_inference_steps: int,
    guidance_scale: float,
) -> Tensor:
    """Clean latents, float32 (B, ...), of the initial noises ``x_T``, one prompt for each."""
    schedule = Schedule.of(denoiser, num_inference_steps)
    latents = x_T
    for step, timestep in enumerate(schedule.timesteps):
        output = guided_prediction(denoiser, latents, timestep, prompts, guidance_scale)
        latents = denoise_step(latents, output, *schedule.step_levels(step), denoiser.prediction)
    return latents
