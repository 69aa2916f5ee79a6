"""Clean latents from initial noise: DDIM with η = 0, or Euler along a flow; state in float32."""

from typing import TYPE_CHECKING

from torch import Tensor

from pipeline.diffusion.guidance import forward_evaluations, guided_prediction

if TYPE_CHECKING:
    from pipeline.models.denoiser import Denoiser, EncodedPrompts, Guidance


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
) -> Tensor:
    """Clean latents, float32 (B, ...), of the initial noises ``x_T``, one prompt for each."""
    schedule = denoiser.schedule(num_inference_steps)
    latents = x_T
    for step, timestep in enumerate(schedule.timesteps):
        output = guided_prediction(denoiser, latents, timestep, prompts, guidance_scale)
        latents = schedule.denoise(latents, output, step)
    return latents
