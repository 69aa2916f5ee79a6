"""Pipelines of the recipes in their published sizes, with random weights.

Sizes are those of the configurations beside the published weights. The resulting numbers of
parameters are printed and equal those of the model cards. Random weights are as fast as trained
ones.
"""

from collections.abc import Callable
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    HunyuanDiT2DModel,
    HunyuanDiTPipeline,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from torch import nn

from benchmarks.full_size.text_encoders import bert, clip_g, clip_l, mt5_xl, t5_xxl

_BETAS: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
}
DDIM: dict[str, Any] = {**_BETAS, "clip_sample": False, "set_alpha_to_one": False}
"""Options of Stable Diffusion's DDIM scheduler."""


def sdxl(scheduler: Any = None) -> StableDiffusionXLPipeline:
    """Return SDXL, with 2.6 G parameters in the UNet."""
    unet = UNet2DConditionModel(
        sample_size=128,
        block_out_channels=(320, 640, 1280),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(5, 10, 20),
        transformer_layers_per_block=(1, 2, 10),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
        cross_attention_dim=2048,
    )
    text_encoder, tokenizer = clip_l()
    text_encoder_2, tokenizer_2 = clip_g()
    return StableDiffusionXLPipeline(
        vae=_vae(4, 0.13025, force_upcast=True),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        text_encoder_2=text_encoder_2,
        tokenizer_2=tokenizer_2,
        unet=unet,
        scheduler=scheduler or DDIMScheduler(**DDIM),
        add_watermarker=False,
    )


def dreamshaper_xl_turbo() -> StableDiffusionXLPipeline:
    """Return the same network with another solver."""
    return sdxl(DPMSolverMultistepScheduler(**_BETAS, algorithm_type="dpmsolver++"))


def hunyuan_dit() -> HunyuanDiTPipeline:
    """Return Hunyuan-DiT, with 1.5 G parameters in the transformer."""
    transformer = HunyuanDiT2DModel(
        sample_size=128,
        num_layers=40,
        patch_size=2,
        attention_head_dim=88,
        num_attention_heads=16,
        in_channels=4,
        hidden_size=1408,
        mlp_ratio=4.3637,
        cross_attention_dim=1024,
        cross_attention_dim_t5=2048,
        pooled_projection_dim=1024,
        text_len=77,
        text_len_t5=256,
        use_style_cond_and_image_meta_size=False,
    )
    text_encoder, tokenizer = bert()
    text_encoder_2, tokenizer_2 = mt5_xl()
    return HunyuanDiTPipeline(
        vae=_vae(4, 0.13025),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        text_encoder_2=text_encoder_2,
        tokenizer_2=tokenizer_2,
        transformer=transformer,
        scheduler=DDIMScheduler(**DDIM | {"beta_end": 0.018, "prediction_type": "v_prediction"}),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def sd35_large() -> StableDiffusion3Pipeline:
    """Return SD3.5 large, with 8.1 G parameters in the transformer."""
    transformer = SD3Transformer2DModel(
        sample_size=128,
        patch_size=2,
        in_channels=16,
        num_layers=38,
        attention_head_dim=64,
        num_attention_heads=38,
        joint_attention_dim=4096,
        caption_projection_dim=2432,
        pooled_projection_dim=2048,
        out_channels=16,
        pos_embed_max_size=192,
        qk_norm="rms_norm",
    )
    text_encoder, tokenizer = clip_l(projection=True)
    text_encoder_2, tokenizer_2 = clip_g()
    text_encoder_3, tokenizer_3 = t5_xxl()
    return StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=_vae(16, 1.5305, shift_factor=0.0609),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        text_encoder_2=text_encoder_2,
        tokenizer_2=tokenizer_2,
        text_encoder_3=text_encoder_3,
        tokenizer_3=tokenizer_3,
    )


def flux1_dev() -> FluxPipeline:
    """Return FLUX.1-dev, with 11.9 G parameters in the transformer."""
    text_encoder, tokenizer = clip_l()
    text_encoder_2, tokenizer_2 = t5_xxl()
    return FluxPipeline(
        transformer=FluxTransformer2DModel(guidance_embeds=True),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=_vae(16, 0.3611, shift_factor=0.1159),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        text_encoder_2=text_encoder_2,
        tokenizer_2=tokenizer_2,
    )


def _vae(channels: int, scale: float, **options: Any) -> AutoencoderKL:
    return AutoencoderKL(
        latent_channels=channels,
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        sample_size=1024,
        scaling_factor=scale,
        **options,
    )


PIPELINES: dict[str, Callable[[], Any]] = {
    "sdxl": sdxl,
    "dreamshaper_xl_turbo": dreamshaper_xl_turbo,
    "hunyuan_dit": hunyuan_dit,
    "sd35_large": sd35_large,
    "flux1_dev": flux1_dev,
}
"""Maps the name of a recipe to the function that makes its pipeline."""


def random_pipeline(recipe: str, device: torch.device, dtype: torch.dtype) -> Any:
    """Make a recipe's pipeline on the device and in the dtype in which it is used."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            pipe = PIPELINES[recipe]()
    finally:
        torch.set_default_dtype(default)
    # As when loaded: its tables are in float32 and on the CPU.
    pipe.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config)
    pipe.to(device, dtype)
    for part in pipe.components.values():
        if isinstance(part, nn.Module):
            part.eval().requires_grad_(False)
    wake(pipe.unet if hasattr(pipe, "unet") else pipe.transformer)
    return pipe


def wake(network: nn.Module) -> None:
    """Set small random weights where an untrained network starts with zeros."""
    for parameter in network.parameters():
        if parameter.abs().max() < 1e-6:
            parameter.normal_(0, 0.02)
