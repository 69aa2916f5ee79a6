"""A diffusion model whose true denoiser is known: data are Gaussian, and a prompt sets their width.

If x_0 ~ N(0, w²) then x at level ᾱ is N(0, ᾱ·w² + 1-ᾱ) and the best predictions are linear in x:
ε* = x·√(1-ᾱ) / (ᾱ·w² + 1-ᾱ) and v* = x·√(ᾱ(1-ᾱ))·(1 - w²) / (ᾱ·w² + 1-ᾱ). Everything built of
them, guidance included, multiplies x by a number that ordinary arithmetic gives.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import sqrt

import torch
from torch import Tensor

from pipeline.diffusion.ddim import step_coefficients
from pipeline.diffusion.schedule import Schedule, spaced_timesteps
from pipeline.models.denoiser import Conditioning, EncodedPrompts, Prediction


def sd_alphas_cumprod() -> Tensor:
    """The training schedule of SD and SDXL ("scaled_linear")."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, dim=0)


def epsilon_factor(alpha: float, width: float) -> float:
    return sqrt(1 - alpha) / (alpha * width**2 + 1 - alpha)


def velocity_factor(alpha: float, width: float) -> float:
    return sqrt(alpha * (1 - alpha)) * (1 - width**2) / (alpha * width**2 + 1 - alpha)


def guided_factor(
    prediction: Prediction, alpha: float, conditional: float, unconditional: float, scale: float
) -> float:
    factor = epsilon_factor if prediction == "epsilon" else velocity_factor
    u, c = factor(alpha, unconditional), factor(alpha, conditional)
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
    def final_alpha_cumprod(self) -> float:
        return float(self.alphas_cumprod[0])

    def timesteps(self, num_inference_steps: int) -> list[int]:
        return spaced_timesteps(1000, num_inference_steps, "leading", 0)

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

    def predict(self, latents: Tensor, timestep: int, conditioning: Conditioning) -> Tensor:
        self.calls.append(len(latents))
        alpha = float(self.alphas_cumprod[timestep])
        factor = epsilon_factor if self.prediction == "epsilon" else velocity_factor
        widths, gains = conditioning.tensors["width"].tolist(), conditioning.tensors["gain"]
        factors = gains * torch.tensor([factor(alpha, w) for w in widths], dtype=torch.float64)
        return factors.reshape(-1, *[1] * (latents.ndim - 1)).to(latents.dtype) * latents

    def decode(self, latents: Tensor) -> Tensor:
        """Grey pictures, one pixel high, of all values of a latent: black at -1, white at 1."""
        grey = (latents.float().flatten(1) / 2 + 0.5).clamp(0, 1)
        return grey[:, None, None].expand(-1, 3, 1, -1)


def sampling_factor(denoiser: GaussianDenoiser, width: float, steps: int, scale: float) -> float:
    """Sampled latents / source noise, by multiplying the factors of the single steps."""
    schedule = Schedule.of(denoiser, steps)
    ratio = 1.0
    for step in range(steps):
        noisy, clean = schedule.step_levels(step)
        p, q = step_coefficients(denoiser.prediction, noisy, clean)
        other = denoiser.unconditional_width
        ratio *= p + q * guided_factor(denoiser.prediction, noisy, width, other, scale)
    return ratio
