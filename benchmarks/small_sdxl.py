"""A small network of SDXL's architecture with random weights, for images of 32 × 32 pixels."""

from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from torch import nn

from benchmarks.full_size.pipelines import DDIM, wake
from benchmarks.full_size.text_encoders import clip


def small_sdxl(width: int) -> Any:
    """Return the pipeline: two text encoders, a UNet of three levels, and a decoder.

    ``width`` is the number of channels of the UNet's first level, a multiple of 8. SDXL has 320.
    """
    torch.manual_seed(0)
    text_encoder, tokenizer = clip(False, width=width, layers=2, heads=2, activation="quick_gelu")
    text_encoder_2, tokenizer_2 = clip(True, width=2 * width, layers=2, heads=2, activation="gelu")
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(width, 2 * width, 4 * width),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(1, 2, 4),
        transformer_layers_per_block=(1, 1, 2),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=32,
        projection_class_embeddings_input_dim=2 * width + 6 * 32,
        cross_attention_dim=3 * width,
        norm_num_groups=8,
    )
    vae = AutoencoderKL(
        latent_channels=4,
        block_out_channels=(16, 32, 64),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        norm_num_groups=8,
        sample_size=32,
        scaling_factor=0.13025,
    )
    pipe: Any = StableDiffusionXLPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        text_encoder_2=text_encoder_2,
        tokenizer_2=tokenizer_2,
        unet=unet,
        scheduler=DDIMScheduler(**DDIM),
        add_watermarker=False,
    )
    for part in pipe.components.values():
        if isinstance(part, nn.Module):
            part.eval().requires_grad_(False)
    wake(pipe.unet)
    return pipe
