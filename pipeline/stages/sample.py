"""Sampling of images from stored noise.

Shapes use B for the batch size, and H and W for the height and width of an image.
"""

import io
from dataclasses import dataclass
from typing import Literal

import torch
from PIL import Image
from torch import Tensor

from pipeline.config.sections import SamplingConfig
from pipeline.diffusion.denoiser import Denoiser, EncodedPrompts
from pipeline.diffusion.noise import as_model_input
from pipeline.diffusion.sample import sample_latents


@dataclass(frozen=True, kw_only=True)
class SampledImages:
    """Batch of sampled images."""

    pixels: Tensor
    """Images: uint8 (B, H, W, 3), on the CPU. An image with non-finite values is all zeros."""
    finite: tuple[bool, ...]
    """For each image, True if its latents and its decoded values are all finite."""


def sample_images(
    denoiser: Denoiser, prompts: EncodedPrompts, noise: Tensor, config: SamplingConfig
) -> SampledImages:
    """Sample and decode images from stored noise, float16 (B, ...)."""
    return decode_images(denoiser, sample_clean(denoiser, prompts, noise, config))


def sample_clean(
    denoiser: Denoiser, prompts: EncodedPrompts, noise: Tensor, config: SamplingConfig
) -> Tensor:
    """Sample clean latents from stored noise.

    ``noise`` is float16 (B, ...). The result is float32 (B, ...) on the device of the denoiser.
    """
    return sample_latents(
        denoiser,
        prompts,
        as_model_input(noise).to(denoiser.device),
        config.num_inference_steps,
        config.guidance_scale,
        config.scheduler,
        config.guidance_rescale,
    )


def decode_images(denoiser: Denoiser, latents: Tensor) -> SampledImages:
    """Decode clean latents (B, ...) into images."""
    images = denoiser.decode(latents).cpu()
    # The decoder may clamp an infinite value, so check the latents as well.
    finite = _all_finite(latents.cpu()) & _all_finite(images)
    shown = torch.where(finite.view(-1, 1, 1, 1), images, torch.zeros(()))
    pixels = (shown * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    return SampledImages(pixels=pixels, finite=tuple(finite.tolist()))


def _all_finite(batch: Tensor) -> Tensor:
    return batch.flatten(1).isfinite().all(dim=1)


def encode_image(pixels: Tensor, image_format: Literal["png", "webp"]) -> bytes:
    """Encode an image, uint8 (H, W, 3), as a lossless file."""
    buffer = io.BytesIO()
    # WebP is lossy by default. PNG is always lossless and ignores the option.
    Image.fromarray(pixels.numpy()).save(buffer, format=image_format, lossless=True)
    return buffer.getvalue()
