"""Tiny random ``StableDiffusionPipeline`` folders: real classes, untrained weights, 16 × 16 pixels.

The numbers are those of Stable Diffusion's scheduler config. ``output_gain`` scales the UNet's
prediction, and ``text_gain`` the influence of the prompt. Both are small in an untrained network,
and the convergence of an exact inversion depends on how steep the network is.

The classes of diffusers have few types, so its objects are ``Any`` in all tests.
"""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from pipeline.models.diffusers.denoiser import DiffusersDenoiser

WORDS = ("a", "red", "blue", "circle", "square", "big", "small", "and")
TEXT_LENGTH = 16
SD_BETAS = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
}


def tiny_tokenizer() -> CLIPTokenizer:
    """Return a tokenizer with one token for each letter, with and without the end-of-word mark."""
    letters = sorted(set("".join(WORDS)) | set("xyz"))
    tokens = [*letters, *(f"{x}</w>" for x in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(
        vocab={token: i for i, token in enumerate(tokens)},
        merges=[],
        model_max_length=TEXT_LENGTH,
    )


def tiny_scheduler(**options: object) -> Any:
    return DDIMScheduler(
        **{
            **SD_BETAS,
            "clip_sample": False,
            "set_alpha_to_one": False,
            "steps_offset": 1,
            **options,
        }
    )


def tiny_pipeline(
    prediction: str = "epsilon", *, output_gain: float = 1.0, text_gain: float = 1.0
) -> Any:
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer()
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=TEXT_LENGTH,
            projection_dim=32,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    unet: Any = UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=4,
        norm_num_groups=8,
    )
    vae: Any = AutoencoderKL(
        latent_channels=4,
        block_out_channels=(16, 32),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
        norm_num_groups=8,
        sample_size=16,
    )
    with torch.no_grad():
        unet.conv_out.weight.mul_(output_gain)
        for name, module in unet.named_modules():
            if name.endswith("attn2.to_out.0"):
                module.weight.mul_(text_gain)
    return StableDiffusionPipeline(
        tokenizer=tokenizer,
        text_encoder=text_encoder.eval(),
        unet=unet.eval(),
        vae=vae.eval(),
        scheduler=tiny_scheduler(prediction_type=prediction),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def save_tiny_pipeline(folder: Path, prediction: str = "epsilon") -> Path:
    tiny_pipeline(prediction).save_pretrained(folder)
    return folder


def load(folder: Path, **options: int) -> DiffusersDenoiser:
    """Load a model folder in float32 on the CPU."""
    return DiffusersDenoiser.load(
        folder, device=torch.device("cpu"), dtype=torch.float32, **options
    )


def edit(path: Path, **changes: object) -> None:
    """Replace keys of a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
