"""Images from stored noise. B batch, H W image height and width."""

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
    """A batch of images."""

    pixels: Tensor
    """uint8 (B, H, W, 3) on the CPU; zero where an image is not finite."""
    finite: tuple[bool, ...]
    """For each image, whether every value that the decoder gave was finite."""


def sample_images(
    denoiser: Denoiser, prompts: EncodedPrompts, noise: Tensor, config: SamplingConfig
) -> SampledImages:
    """Sample and decode images from stored noise, float16 (B, ...)."""
    return decode_images(denoiser, sample_clean(denoiser, prompts, noise, config))


def sample_clean(
    denoiser: Denoiser, prompts: EncodedPrompts, noise: Tensor, config: SamplingConfig
) -> Tensor:
    """Clean latents, float32 (B, ...) on the denoiser's device, from stored noise, float16."""
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
    """The images of clean latents (B, ...)."""
    images = denoiser.decode(latents).cpu()
    # The decoder may clamp an infinity away; the latents still show it.
    finite = _all_finite(latents.cpu()) & _all_finite(images)
    shown = torch.where(finite.view(-1, 1, 1, 1), images, torch.zeros(()))
    pixels = (shown * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    return SampledImages(pixels=pixels, finite=tuple(finite.tolist()))


def _all_finite(batch: Tensor) -> Tensor:
    return batch.flatten(1).isfinite().all(dim=1)


def encode_image(pixels: Tensor, image_format: Literal["png", "webp"]) -> bytes:
    """An image, uint8 (H, W, 3), as a lossless file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels.numpy()).save(buffer, format=image_format, lossless=True)
    return buffer.getvalue()
