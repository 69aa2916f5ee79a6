"""Re-denoising: down a few steps at high guidance, up again at low guidance.

"Golden Noise for Diffusion Models", arXiv 2411.09502, section 3.2, for k ≥ 1 steps. The gap between
the two guidance scales is what stays in the noise. B batch, k num_steps, N num_inference_steps.
"""

from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING

from torch import Tensor

from pipeline.diffusion.guidance import forward_evaluations
from pipeline.diffusion.guided_step import (
    InversionSettings,
    Inverted,
    inversion_evaluations,
    invert_steps,
    step_down,
)
from pipeline.diffusion.schedule import Spacing
from pipeline.errors import UserError

if TYPE_CHECKING:
    from pipeline.diffusion.denoiser import Denoiser, EncodedPrompts, Guidance


@dataclass(frozen=True, kw_only=True)
class StepsSettings(InversionSettings):
    """Which steps are gone down and up again, and how."""

    num_inference_steps: int
    """N, steps of the schedule: decides the size of one step and so of the perturbation."""
    num_steps: int = 1
    """k, how many of the N steps go down and up again."""
    guidance_scale: float = 5.5
    """ω_l, guidance on the way down."""
    timestep_spacing: Spacing | None = None
    """Which N of the training timesteps; None leaves it to the model's own scheduler, and a flow
    knows no other."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_inference_steps < 1:
            raise UserError(f"num_inference_steps must be at least 1: {self.num_inference_steps}")
        if not 1 <= self.num_steps <= self.num_inference_steps:
            raise UserError(
                f"num_steps must lie in 1 … num_inference_steps ({self.num_inference_steps}), "
                f"not {self.num_steps}"
            )
        if not isfinite(self.guidance_scale):
            raise UserError(f"guidance_scale must be finite, not {self.guidance_scale}")


@dataclass(frozen=True, kw_only=True)
class RedenoiseSettings(StepsSettings):
    """Everything that decides the golden noise of a source noise, beside model and prompt."""

    rounds: int = 1
    """How often all of it is done, each time from the noise that came out before."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rounds < 1:
            raise UserError(f"rounds must be at least 1, not {self.rounds}")


@dataclass(frozen=True, kw_only=True)
class Redenoised:
    """Golden noises and how far their inversion can be trusted."""

    golden_noise: Tensor
    """x'_T, float32 (B, ...); the best effort where ``converged`` is False."""
    converged: Tensor
    """bool (B,). Exact: every step met the tolerance. First order: the result is finite."""
    residual: Tensor
    """float32 (B,), the largest relative change that the last iteration of a step made; for first
    order that of its only iteration, so there it measures the step and not an error."""
    iterations: Tensor
    """int64 (B,), iterations that the sample took in all steps up; one a step for first order."""

    @classmethod
    def of(cls, inverted: Inverted) -> "Redenoised":
        """The end of the way up: latents at the noisiest level."""
        return cls(
            golden_noise=inverted.latents,
            converged=inverted.converged,
            residual=inverted.residual,
            iterations=inverted.iterations,
        )


def redenoise_evaluations(settings: RedenoiseSettings, guidance: "Guidance") -> int:
    """Forward evaluations for one sample; for exact inversion the most that it can take."""
    down = forward_evaluations(settings.guidance_scale, guidance)
    up = inversion_evaluations(settings, guidance)
    return settings.rounds * settings.num_steps * (down + up)


def redenoise(
    denoiser: "Denoiser", prompts: "EncodedPrompts", x_T: Tensor, settings: RedenoiseSettings
) -> Redenoised:
    """Golden noise of the source noises ``x_T``, float32 (B, ...), one prompt for each.

    No sample's result depends on the others in its batch, beyond the network's own rounding.
    Nothing is raised for a sample that diverges: its ``converged`` is False.
    """
    schedule = denoiser.schedule(settings.num_inference_steps, settings.timestep_spacing)
    result = Inverted.untouched(x_T)
    for _ in range(settings.rounds):
        latents = result.latents
        for step in range(settings.num_steps):
            latents = step_down(denoiser, prompts, latents, schedule, step, settings.guidance_scale)
        up = invert_steps(denoiser, prompts, latents, schedule, settings.num_steps, settings)
        result = result.followed_by(up)
    return Redenoised.of(result)
