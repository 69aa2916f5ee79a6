"""One step along a schedule under guidance: denoising, and its inversion. B batch.

A denoising step evaluates the network at the latents that it leaves. Its inversion needs the output
at the latents that it has yet to find, so it solves an equation.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pipeline.config.proposers import InversionSettings
from pipeline.diffusion.guidance import forward_evaluations, guided_prediction
from pipeline.diffusion.schedule import Schedule

if TYPE_CHECKING:
    from pipeline.diffusion.denoiser import Denoiser, EncodedPrompts, Guidance


@dataclass(frozen=True, kw_only=True)
class InversionResult:
    """Latents after an inversion, and how well it converged."""

    latents: Tensor
    """float32 (B, ...), at the noisier level: the golden noise x'_T if all steps were inverted. The
    last iterate where ``converged`` is False."""
    converged: Tensor
    """bool (B,). Exact: every step met the tolerance. First order: the result is finite."""
    residual: Tensor
    """float32 (B,), largest relative change in the last iteration of any step. For first order this
    is the only iteration, so it measures the size of the step and not an error."""
    iterations: Tensor
    """int64 (B,), number of iterations over all steps; one per step for first order."""

    @classmethod
    def untouched(cls, latents: Tensor) -> "InversionResult":
        """Return the result of zero steps."""
        batch, device = latents.shape[0], latents.device
        return cls(
            latents=latents,
            converged=torch.ones(batch, dtype=torch.bool, device=device),
            residual=torch.zeros(batch, dtype=torch.float32, device=device),
            iterations=torch.zeros(batch, dtype=torch.long, device=device),
        )

    def followed_by(self, after: "InversionResult") -> "InversionResult":
        """Combine two inversions in sequence: the larger residual, the sum of the iterations."""
        return InversionResult(
            latents=after.latents,
            converged=self.converged & after.converged,
            residual=torch.maximum(self.residual, after.residual),
            iterations=self.iterations + after.iterations,
        )


def inversion_evaluations(settings: InversionSettings, guidance: "Guidance") -> int:
    """Return the forward evaluations of one inversion step; for exact inversion the maximum."""
    iterations = settings.max_iterations if settings.inversion == "exact" else 1
    return iterations * forward_evaluations(settings.inversion_guidance_scale, guidance)


def step_down(
    denoiser: "Denoiser",
    prompts: "EncodedPrompts",
    latents: Tensor,
    schedule: Schedule,
    step: int,
    guidance_scale: float,
) -> Tensor:
    """Take denoising step ``step`` from latents (B, ...) at its noisier level."""
    output = guided_prediction(denoiser, latents, schedule.timesteps[step], prompts, guidance_scale)
    return schedule.denoise(latents, output, step)


def invert_steps(
    denoiser: "Denoiser",
    prompts: "EncodedPrompts",
    latents: Tensor,
    schedule: Schedule,
    num_steps: int,
    settings: InversionSettings,
) -> InversionResult:
    """Invert the first ``num_steps`` steps, from latents (B, ...) at level ``num_steps``."""
    result = InversionResult.untouched(latents)
    # Each inversion starts where the one before it ended, so the cleanest step comes first.
    for step in reversed(range(num_steps)):
        up = invert_step(denoiser, prompts, result.latents, schedule, step, settings)
        result = result.followed_by(up)
    return result


def invert_step(
    denoiser: "Denoiser",
    prompts: "EncodedPrompts",
    x_clean: Tensor,
    schedule: Schedule,
    step: int,
    settings: InversionSettings,
) -> InversionResult:
    """Invert one denoising step of latents ``x_clean`` (B, ...).

    Solves x' = p·x + q·o(x, t_j) for x by the iteration x ← (x' - q·o(x, t_j)) / p, from x = x'.
    The network receives the timestep t_j of the noisier level, because the solution lies there. The
    first iteration is the first-order inversion. Samples are independent of their batch, and one
    that diverges is marked as not converged.
    """
    exact = settings.inversion == "exact"
    # The unknown x lies near x', because one step changes the latents little. The iteration
    # contracts while |κ|·‖∂o/∂x‖ < 1, which high guidance scales can violate (``schedule.kappa``).
    result = InversionResult.untouched(x_clean)
    active = torch.ones_like(result.converged)
    for _ in range(settings.max_iterations if exact else 1):
        output = guided_prediction(
            denoiser,
            result.latents,
            schedule.timesteps[step],
            prompts,
            settings.inversion_guidance_scale,
        )
        proposal = schedule.invert(x_clean, output, step)
        change = _relative_change(result.latents, proposal)
        # A finished sample must not change while others in its batch iterate. Its result would
        # otherwise depend on the batch.
        result = InversionResult(
            latents=torch.where(_each(active, proposal), proposal, result.latents),
            # After divergence the change is NaN or infinite, and neither comparison holds.
            converged=torch.where(
                active,
                change <= settings.tolerance if exact else change.isfinite(),
                result.converged,
            ),
            residual=torch.where(active, change, result.residual),
            iterations=result.iterations + active.long(),
        )
        # A diverged sample never becomes finite again. More evaluations would be wasted on it.
        active = active & ~result.converged & result.residual.isfinite()
        if not active.any():
            break
    return result


def _relative_change(before: Tensor, after: Tensor) -> Tensor:
    """Return ‖after - before‖ / ‖after‖ per sample, float32 (B,); NaN or inf after divergence."""
    norms = torch.linalg.vector_norm
    change: Tensor = norms((after - before).flatten(1), dim=1) / norms(after.flatten(1), dim=1)
    return change.to(torch.float32)


def _each(flags: Tensor, latents: Tensor) -> Tensor:
    """Reshape flags (B,) so that they broadcast over samples of ``latents`` (B, ...)."""
    return flags.reshape(-1, *[1] * (latents.ndim - 1))
