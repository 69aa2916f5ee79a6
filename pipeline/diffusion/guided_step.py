"""One step along a schedule under guidance: down to the cleaner level, or up again. B batch.

Up is an equation, because the network would have to be asked at the level that is yet to be found.
"""

from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor

from pipeline.diffusion.guidance import forward_evaluations, guided_prediction
from pipeline.diffusion.schedule import Schedule
from pipeline.errors import UserError

if TYPE_CHECKING:
    from pipeline.diffusion.denoiser import Denoiser, EncodedPrompts, Guidance

Inversion = Literal["first_order", "exact"]


@dataclass(frozen=True, kw_only=True)
class InversionSettings:
    """How the way up is gone."""

    inversion_guidance_scale: float = 1.0
    """ω_w, guidance on the way up."""
    inversion: Inversion = "first_order"
    """One evaluation a step, as published, or fixed-point iterations to ``tolerance``."""
    tolerance: float = 1e-5
    """Exact inversion stops a sample when an iteration changes it by no more than this, relative
    to its norm. Networks in bfloat16 or float16 do not reach the default: they round sooner."""
    max_iterations: int = 50
    """Exact inversion gives a step up after so many iterations: not converged."""

    def __post_init__(self) -> None:
        if not isfinite(self.inversion_guidance_scale):
            raise UserError(
                f"inversion_guidance_scale must be finite, not {self.inversion_guidance_scale}"
            )
        if self.inversion not in get_args(Inversion):
            raise UserError(f"inversion must be first_order or exact, not {self.inversion!r}")
        if not (isfinite(self.tolerance) and self.tolerance > 0):
            raise UserError(f"tolerance must be positive and finite, not {self.tolerance}")
        if self.max_iterations < 1:
            raise UserError(f"max_iterations must be at least 1, not {self.max_iterations}")


@dataclass(frozen=True, kw_only=True)
class Inverted:
    """Latents at a noisier level, and how far they can be trusted."""

    latents: Tensor
    """float32 (B, ...); the best effort where ``converged`` is False."""
    converged: Tensor
    """bool (B,). Exact: every step met the tolerance. First order: the result is finite."""
    residual: Tensor
    """float32 (B,), the largest relative change that the last iteration of a step made; for first
    order that of its only iteration, so there it measures the step and not an error."""
    iterations: Tensor
    """int64 (B,), iterations that the sample took in all steps; one a step for first order."""

    @classmethod
    def untouched(cls, latents: Tensor) -> "Inverted":
        """The result of no steps at all."""
        batch, device = latents.shape[0], latents.device
        return cls(
            latents=latents,
            converged=torch.ones(batch, dtype=torch.bool, device=device),
            residual=torch.zeros(batch, dtype=torch.float32, device=device),
            iterations=torch.zeros(batch, dtype=torch.long, device=device),
        )

    def followed_by(self, after: "Inverted") -> "Inverted":
        """Two inversions, one after the other: the worse of both, and what both took."""
        return Inverted(
            latents=after.latents,
            converged=self.converged & after.converged,
            residual=torch.maximum(self.residual, after.residual),
            iterations=self.iterations + after.iterations,
        )


def inversion_evaluations(settings: InversionSettings, guidance: "Guidance") -> int:
    """Forward evaluations for one step up of one sample; for exact inversion at most."""
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
    """Latents (B, ...) at level ``step`` of a schedule, taken to the cleaner level behind it."""
    output = guided_prediction(denoiser, latents, schedule.timesteps[step], prompts, guidance_scale)
    return schedule.denoise(latents, output, step)


def invert_steps(
    denoiser: "Denoiser",
    prompts: "EncodedPrompts",
    latents: Tensor,
    schedule: Schedule,
    num_steps: int,
    settings: InversionSettings,
) -> Inverted:
    """Latents (B, ...) at level ``num_steps`` of a schedule, taken up to its level 0."""
    result = Inverted.untouched(latents)
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
) -> Inverted:
    """Undo one step: solve x' = p·x + q·o(x, t_j) for x by x ← (x' - q·o(x, t_j)) / p, from x'.

    The network is told the timestep t_j of the noisier level throughout, because that is where the
    solution lies. The first iteration alone is the first-order inversion. No sample's result
    depends on the others in its batch, and one that diverges is only marked as not converged.
    """
    exact = settings.inversion == "exact"
    result = Inverted.untouched(x_clean)
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
        # A sample that is done stays as it is however long the others in its batch need.
        result = Inverted(
            latents=torch.where(_each(active, proposal), proposal, result.latents),
            converged=torch.where(
                active,
                change <= settings.tolerance if exact else change.isfinite(),
                result.converged,
            ),
            residual=torch.where(active, change, result.residual),
            iterations=result.iterations + active.long(),
        )
        active = active & ~result.converged & result.residual.isfinite()
        if not active.any():
            break
    return result


def _relative_change(before: Tensor, after: Tensor) -> Tensor:
    """‖after - before‖ / ‖after‖ of each sample, float32 (B,); NaN or inf if it diverged."""
    norms = torch.linalg.vector_norm
    change: Tensor = norms((after - before).flatten(1), dim=1) / norms(after.flatten(1), dim=1)
    return change.to(torch.float32)


def _each(flags: Tensor, latents: Tensor) -> Tensor:
    """Flags (B,) shaped to select whole samples of ``latents`` (B, ...)."""
    return flags.reshape(-1, *[1] * (latents.ndim - 1))
