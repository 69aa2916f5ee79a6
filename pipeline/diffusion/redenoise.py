"""Re-denoising: down a few steps at high guidance, up again at low guidance.

"Golden Noise for Diffusion Models", arXiv 2411.09502, section 3.2, for k ≥ 1 steps. The gap between
the two guidance scales is what stays in the noise. B batch, k num_steps, N num_inference_steps.
"""

from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor

from pipeline.diffusion.guidance import forward_evaluations, guided_prediction
from pipeline.diffusion.schedule import Schedule, Spacing
from pipeline.errors import UserError

if TYPE_CHECKING:
    from pipeline.models.denoiser import Denoiser, EncodedPrompts, Guidance

Inversion = Literal["first_order", "exact"]


@dataclass(frozen=True, kw_only=True)
class RedenoiseSettings:
    """Everything that decides the golden noise of a source noise, beside model and prompt."""

    num_inference_steps: int
    """N, steps of the schedule: decides the size of one step and so of the perturbation."""
    num_steps: int = 1
    """k, how many of the N steps go down and up again."""
    guidance_scale: float = 5.5
    """ω_l, guidance on the way down."""
    inversion_guidance_scale: float = 1.0
    """ω_w, guidance on the way up."""
    timestep_spacing: Spacing | None = None
    """Which N of the training timesteps; None leaves it to the model's own scheduler, and a flow
    knows no other."""
    inversion: Inversion = "first_order"
    """One evaluation a step, as published, or fixed-point iterations to ``tolerance``."""
    tolerance: float = 1e-5
    """Exact inversion stops a sample when an iteration changes it by no more than this, relative
    to its norm. Networks in bfloat16 or float16 do not reach the default: they round sooner."""
    max_iterations: int = 50
    """Exact inversion gives a step up after so many iterations: not converged."""

    def __post_init__(self) -> None:
        if self.num_inference_steps < 1:
            raise UserError(f"num_inference_steps must be at least 1: {self.num_inference_steps}")
        if not 1 <= self.num_steps <= self.num_inference_steps:
            raise UserError(
                f"num_steps must lie in 1 … num_inference_steps ({self.num_inference_steps}), "
                f"not {self.num_steps}"
            )
        for name in ("guidance_scale", "inversion_guidance_scale"):
            if not isfinite(getattr(self, name)):
                raise UserError(f"{name} must be finite, not {getattr(self, name)}")
        if self.inversion not in get_args(Inversion):
            raise UserError(f"inversion must be first_order or exact, not {self.inversion!r}")
        if not (isfinite(self.tolerance) and self.tolerance > 0):
            raise UserError(f"tolerance must be positive and finite, not {self.tolerance}")
        if self.max_iterations < 1:
            raise UserError(f"max_iterations must be at least 1, not {self.max_iterations}")


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
    """int64 (B,), iterations that the sample took in all k steps; k for first order."""


def redenoise_evaluations(settings: RedenoiseSettings, guidance: "Guidance") -> int:
    """Forward evaluations for one sample; for exact inversion the most that it can take."""
    iterations = settings.max_iterations if settings.inversion == "exact" else 1
    down = forward_evaluations(settings.guidance_scale, guidance)
    up = iterations * forward_evaluations(settings.inversion_guidance_scale, guidance)
    return settings.num_steps * (down + up)


def redenoise(
    denoiser: "Denoiser", prompts: "EncodedPrompts", x_T: Tensor, settings: RedenoiseSettings
) -> Redenoised:
    """Golden noise of the source noises ``x_T``, float32 (B, ...), one prompt for each.

    No sample's result depends on the others in its batch, beyond the network's own rounding.
    Nothing is raised for a sample that diverges: its ``converged`` is False.
    """
    schedule = denoiser.schedule(settings.num_inference_steps, settings.timestep_spacing)
    latents = x_T
    for step in range(settings.num_steps):
        output = guided_prediction(
            denoiser, latents, schedule.timesteps[step], prompts, settings.guidance_scale
        )
        latents = schedule.denoise(latents, output, step)
    result = _untouched(latents)
    for step in reversed(range(settings.num_steps)):
        inverted = _invert(denoiser, prompts, result.golden_noise, schedule, step, settings)
        result = _followed_by(result, inverted)
    return result


def _invert(
    denoiser: "Denoiser",
    prompts: "EncodedPrompts",
    x_clean: Tensor,
    schedule: Schedule,
    step: int,
    settings: RedenoiseSettings,
) -> Redenoised:
    """Undo one step: solve x' = p·x + q·o(x, t_j) for x by x ← (x' - q·o(x, t_j)) / p, from x'.

    The network is told the timestep t_j of the noisier level throughout, because that is where the
    solution lies. The first iteration alone is the first-order inversion.
    """
    exact = settings.inversion == "exact"
    result = _untouched(x_clean)
    active = torch.ones_like(result.converged)
    for _ in range(settings.max_iterations if exact else 1):
        output = guided_prediction(
            denoiser,
            result.golden_noise,
            schedule.timesteps[step],
            prompts,
            settings.inversion_guidance_scale,
        )
        proposal = schedule.invert(x_clean, output, step)
        change = _relative_change(result.golden_noise, proposal)
        # A sample that is done stays as it is however long the others in its batch need.
        result = Redenoised(
            golden_noise=torch.where(_each(active, proposal), proposal, result.golden_noise),
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


def _untouched(latents: Tensor) -> Redenoised:
    """The result of no steps at all."""
    batch = latents.shape[0]
    return Redenoised(
        golden_noise=latents,
        converged=torch.ones(batch, dtype=torch.bool, device=latents.device),
        residual=torch.zeros(batch, dtype=torch.float32, device=latents.device),
        iterations=torch.zeros(batch, dtype=torch.long, device=latents.device),
    )


def _followed_by(before: Redenoised, after: Redenoised) -> Redenoised:
    """Two inversions in a row as one: the worse of both, and what both took."""
    return Redenoised(
        golden_noise=after.golden_noise,
        converged=before.converged & after.converged,
        residual=torch.maximum(before.residual, after.residual),
        iterations=before.iterations + after.iterations,
    )


def _relative_change(before: Tensor, after: Tensor) -> Tensor:
    """‖after - before‖ / ‖after‖ of each sample, float32 (B,); NaN or inf if it diverged."""
    norms = torch.linalg.vector_norm
    change: Tensor = norms((after - before).flatten(1), dim=1) / norms(after.flatten(1), dim=1)
    return change.to(torch.float32)


def _each(flags: Tensor, latents: Tensor) -> Tensor:
    """Flags (B,) shaped to select whole samples of ``latents`` (B, ...)."""
    return flags.reshape(-1, *[1] * (latents.ndim - 1))
