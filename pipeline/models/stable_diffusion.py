"""Stable Diffusion behind the ``Denoiser`` protocol, from a folder in diffusers' format.

B batch, C latent channels, H W latent height and width, L tokens, D width of the text encoder.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from safetensors import SafetensorError
from torch import Tensor
from transformers.utils import logging as transformers_logging

from pipeline.errors import ModelError
from pipeline.models.denoiser import Conditioning, EncodedPrompts
from pipeline.models.model_index import check_model_folder
from pipeline.models.training_schedule import TrainingSchedule

# What diffusers, transformers and safetensors raise for a damaged or incomplete folder.
_LOAD_ERRORS = (
    AttributeError,
    ImportError,
    KeyError,
    OSError,
    RuntimeError,
    SafetensorError,
    TypeError,
    ValueError,
)


class StableDiffusionDenoiser:
    """A ``StableDiffusionPipeline`` as a ``Denoiser``: UNet, text encoder and VAE in one dtype."""

    def __init__(
        self, pipe: Any, where: str, *, height: int | None = None, width: int | None = None
    ) -> None:
        """Wrap ``pipe``; ``height`` and ``width`` are of the image, in pixels."""
        _refuse_unsupported(pipe, where)
        schedule = TrainingSchedule(pipe.scheduler, where)
        self.prediction = schedule.prediction
        self.alphas_cumprod = schedule.alphas_cumprod
        self.final_alpha_cumprod = schedule.final_alpha_cumprod
        self.latent_shape = _latent_shape(pipe, where, height, width)
        self.device = torch.device(pipe.device)
        self._schedule = schedule
        self._pipe = pipe

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        device: torch.device,
        dtype: torch.dtype,
        height: int | None = None,
        width: int | None = None,
    ) -> "StableDiffusionDenoiser":
        """Read a model folder; nothing is downloaded, no code or pickle in it is run.

        Raises ``ModelError`` for a folder that is missing, damaged or of an unsupported class.
        """
        check_model_folder(folder)
        library: Any = StableDiffusionPipeline  # its loader carries no types
        try:
            with _no_progress_bars():
                pipe = library.from_pretrained(
                    folder,
                    dtype=dtype,
                    local_files_only=True,
                    use_safetensors=True,
                    safety_checker=None,
                    requires_safety_checker=False,
                )
        except _LOAD_ERRORS as error:
            raise ModelError(f"{folder}: the model cannot be loaded: {error}") from error
        pipe.to(device)
        pipe.set_progress_bar_config(disable=True)
        return cls(pipe, str(folder), height=height, width=width)

    def timesteps(self, num_inference_steps: int) -> list[int]:
        """The descending timesteps of an N-step schedule, in the model's own spacing."""
        return self._schedule.timesteps(num_inference_steps)

    @torch.no_grad()
    def encode_prompts(self, prompts: Sequence[str]) -> EncodedPrompts:
        """Run the text encoder once for each prompt and once for the empty one.

        One prompt at a time and padded to a fixed length: an encoding depends on its own prompt
        alone, bit for bit, whatever else is in the batch.
        """
        embeds = torch.cat([self._encode(prompt) for prompt in prompts])
        empty = self._encode("").expand_as(embeds)
        return EncodedPrompts(
            conditional=Conditioning(tensors={"encoder_hidden_states": embeds}),
            unconditional=Conditioning(tensors={"encoder_hidden_states": empty}),
            truncated=tuple(self._is_truncated(prompt) for prompt in prompts),
        )

    @torch.no_grad()
    def predict(self, latents: Tensor, timestep: int, conditioning: Conditioning) -> Tensor:
        """One forward evaluation of the UNet: float32 (B, C, H, W) to its float32 output."""
        unet = self._pipe.unet
        output: Tensor = unet(
            latents.to(device=self.device, dtype=unet.dtype),
            timestep,
            **conditioning.tensors,
            return_dict=False,
        )[0]
        return output.to(torch.float32)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Clean latents (B, C, H, W) to images, float32 (B, 3, ., .) in [0, 1]; NaN stays NaN."""
        vae = self._pipe.vae
        scaled = latents.to(self.device) / vae.config.scaling_factor
        images: Tensor = vae.decode(scaled.to(vae.dtype), return_dict=False)[0]
        return (images.to(torch.float32) / 2 + 0.5).clamp(0, 1)

    def _encode(self, prompt: str) -> Tensor:
        """The text encoder's (1, L, D) for one prompt."""
        embeds, _ = self._pipe.encode_prompt(
            prompt,
            device=self.device,
            num_images_per_prompt=1,
            do_classifier_free_guidance=False,
        )
        tensor: Tensor = embeds
        return tensor

    def _is_truncated(self, prompt: str) -> bool:
        tokenizer = self._pipe.tokenizer
        tokens = tokenizer(prompt, truncation=False, verbose=False).input_ids
        return bool(len(tokens) > tokenizer.model_max_length)


def _refuse_unsupported(pipe: Any, where: str) -> None:
    """Refuse variants of the pipeline whose UNet wants more than latents, time and text."""
    unet, vae, tokenizer = pipe.unet.config, pipe.vae.config, pipe.tokenizer
    if not unet.in_channels == unet.out_channels == vae.latent_channels:
        raise ModelError(
            f"{where}: the UNet maps {unet.in_channels} to {unet.out_channels} channels and the "
            f"VAE has {vae.latent_channels}; inpainting and other extended models are not supported"
        )
    if unet.time_cond_proj_dim is not None:
        raise ModelError(
            f"{where}: the UNet takes its guidance as an embedding (time_cond_proj_dim); "
            "guidance-distilled models are not supported"
        )
    longest = pipe.text_encoder.config.max_position_embeddings
    if tokenizer.model_max_length > longest:
        raise ModelError(
            f"{where}: the tokenizer's model_max_length {tokenizer.model_max_length} exceeds the "
            f"{longest} positions of the text encoder; mend tokenizer/tokenizer_config.json"
        )


def _latent_shape(
    pipe: Any, where: str, height: int | None, width: int | None
) -> tuple[int, int, int]:
    """(C, H, W) for an image of ``height`` × ``width`` pixels; the UNet's own size by default."""
    factor: int = pipe.vae_scale_factor
    size = pipe.unet.config.sample_size
    default_h, default_w = (size, size) if isinstance(size, int) else size
    for name, pixels in (("height", height), ("width", width)):
        if pixels is not None and (pixels < factor or pixels % factor):
            raise ModelError(f"{where}: {name} must be a multiple of {factor}, not {pixels}")
    return (
        pipe.unet.config.in_channels,
        default_h if height is None else height // factor,
        default_w if width is None else width // factor,
    )


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """Loading bars of both libraries off, as they were afterwards."""
    libraries = (diffusers_logging, transformers_logging)
    shown = [library for library in libraries if library.is_progress_bar_enabled()]
    for library in shown:
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library in shown:
            library.enable_progress_bar()
