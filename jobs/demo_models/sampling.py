"""Sampling of pictures and golden noises from the trained models, for measurements.

B batch, C latent channels, H W height and width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.diffusion.denoiser import EncodedPrompts
from pipeline.diffusion.noise import source_noise
from pipeline.diffusion.redenoise import RedenoiseSettings, redenoise
from pipeline.diffusion.sample import sample_latents
from pipeline.models.diffusers.denoiser import DiffusersDenoiser

NUM_STEPS = 20
"""Number of DDIM steps of every measured picture."""

BATCH = 64


def noises(count: int, first_seed: int, shape: Sequence[int]) -> Tensor:
    """Return source noises of consecutive seeds, (count, C, H, W)."""
    return torch.stack([source_noise(first_seed + i, shape) for i in range(count)])


def sample_images(
    denoiser: DiffusersDenoiser, prompts: EncodedPrompts, x_T: Tensor, guidance_scale: float
) -> Tensor:
    """Sample one picture for each prompt and noise, uint8 (B, H, W, 3)."""
    images = []
    for rows in _batches(len(x_T)):
        latents = sample_latents(denoiser, prompts.take(rows), x_T[rows], NUM_STEPS, guidance_scale)
        pixels = (denoiser.decode(latents) * 255).round().to(torch.uint8)
        images.append(pixels.permute(0, 2, 3, 1).cpu())
    return torch.cat(images)


def golden_noises(
    denoiser: DiffusersDenoiser,
    prompts: EncodedPrompts,
    x_T: Tensor,
    settings: RedenoiseSettings,
) -> Tensor:
    """Return the golden noise of each source noise, shaped like ``x_T``."""
    parts = [
        redenoise(denoiser, prompts.take(rows), x_T[rows], settings).latents
        for rows in _batches(len(x_T))
    ]
    return torch.cat(parts)


def _batches(count: int) -> list[list[int]]:
    rows = list(range(count))
    return [rows[start : start + BATCH] for start in range(0, count, BATCH)]
