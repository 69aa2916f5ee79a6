"""A diffusion model whose true denoiser is known: data are Gaussian, and a prompt sets their width.

If x_0 ~ N(0, w²) then x = a·x_0 + s·ε is N(0, a²w² + s²) and the best predictions are linear in x:
ε* = x·s / (a²w² + s²), x_0* = x·a·w² / (a²w² + s²), v* = a·ε* - s·x_0*, and the velocity of a flow
ε* - x_0*. Everything built of them, guidance included, multiplies x by a number that ordinary
arithmetic gives.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pipeline.config.proposers import Spacing
from pipeline.diffusion.denoiser import (
    Conditioning,
    EncodedPrompts,
    Guidance,
    SamplingScheduler,
)
from pipeline.diffusion.schedule import (
    NoiseLevel,
    Prediction,
    Schedule,
    spaced_timesteps,
    step_coefficients,
)


def sd_alphas_cumprod() -> Tensor:
    """The training schedule of SD and SDXL ("scaled_linear")."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, dim=0)


def output_factor(prediction: Prediction, level: NoiseLevel, width: float) -> float:
    a, s = level
    eps = s / (a**2 * width**2 + s**2)
    x_0 = a * width**2 / (a**2 * width**2 + s**2)
    return {"epsilon": eps, "v_prediction": a * eps - s * x_0, "flow": eps - x_0}[prediction]


def guided_factor(
    prediction: Prediction,
    level: NoiseLevel,
    conditional: float,
    unconditional: float,
    scale: float,
) -> float:
    u, c = (output_factor(prediction, level, width) for width in (unconditional, conditional))
    return u + scale * (c - u)


@dataclass
class GaussianDenoiser:
    """The ``Denoiser`` of such data; ``gain`` multiplies the prediction of each prompt's width."""

    prediction: Prediction = "epsilon"
    unconditional_width: float = 0.9
    latent_shape: tuple[int, ...] = (2, 3)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    alphas_cumprod: Tensor = field(default_factory=sd_alphas_cumprod)
    calls: list[int] = field(default_factory=list)
    """Rows of each call of ``predict``."""

    @property
    def guidance(self) -> Guidance:
        return "classifier_free"

    def schedule(self, num_inference_steps: int, spacing: Spacing | None = None) -> Schedule:
        if self.prediction == "flow":
            sigmas = torch.linspace(1, 0, num_inference_steps + 1, dtype=torch.float64).tolist()
            return Schedule.of_sigmas([1000 * sigma for sigma in sigmas[:-1]], sigmas)
        offset = 0 if spacing is None else 1
        timesteps = spaced_timesteps(1000, num_inference_steps, spacing or "leading", offset)
        final = float(self.alphas_cumprod[0])
        return Schedule.of_alphas(self.prediction, self.alphas_cumprod, timesteps, final)

    def native_scheduler(self, num_inference_steps: int) -> SamplingScheduler:
        raise NotImplementedError("Gaussian data has closed forms for first-order steps only")

    def encode_widths(
        self, widths: Sequence[float], gains: Sequence[float] | None = None
    ) -> EncodedPrompts:
        ones = [1.0] * len(widths)

        def conditioning(width: Sequence[float], gain: Sequence[float]) -> Conditioning:
            return Conditioning(
                tensors={
                    "width": torch.tensor(width, dtype=torch.float64),
                    "gain": torch.tensor(gain, dtype=torch.float64),
                }
            )

        return EncodedPrompts(
            conditional=conditioning(widths, ones if gains is None else gains),
            unconditional=conditioning([self.unconditional_width] * len(widths), ones),
            truncated=(False,) * len(widths),
        )

    def encode_prompts(self, prompts: Sequence[str]) -> EncodedPrompts:
        return self.encode_widths([float(prompt) for prompt in prompts])

    def predict(self, latents: Tensor, timestep: float, conditioning: Conditioning) -> Tensor:
        self.calls.append(len(latents))
        level = self._level(timestep)
        widths, gains = conditioning.tensors["width"].tolist(), conditioning.tensors["gain"]
        factors = [output_factor(self.prediction, level, width) for width in widths]
        scaled = gains * torch.tensor(factors, dtype=torch.float64)
        return scaled.reshape(-1, *[1] * (latents.ndim - 1)).to(latents.dtype) * latents

    def _level(self, timestep: float) -> NoiseLevel:
        if self.prediction == "flow":
            return NoiseLevel.of_sigma(timestep / 1000)
        return NoiseLevel.of_alpha(float(self.alphas_cumprod[int(timestep)]))

    def decode(self, latents: Tensor) -> Tensor:
        """Grey pictures, one pixel high, of all values of a latent: black at -1, white at 1."""
        grey = (latents.float().flatten(1) / 2 + 0.5).clamp(0, 1)
        return grey[:, None, None].expand(-1, 3, 1, -1)


def sampling_factor(denoiser: GaussianDenoiser, width: float, steps: int, scale: float) -> float:
    """Sampled latents / source noise, by multiplying the factors of the single steps."""
    schedule = denoiser.schedule(steps)
    ratio = 1.0
    for step in range(steps):
        noisy, clean = schedule.step_levels(step)
        p, q = step_coefficients(denoiser.prediction, noisy, clean)
        other = denoiser.unconditional_width
        ratio *= p + q * guided_factor(denoiser.prediction, noisy, width, other, scale)
    return ratio
