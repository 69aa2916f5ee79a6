"""Tiny random pipelines of every family: the real classes with small configurations.

Families with zero-initialised gates ignore the text at first. Its influence is made large here,
so that guidance changes the prediction.
"""

from collections.abc import Callable
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLWan,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    HunyuanDiT2DModel,
    HunyuanDiTPipeline,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    WanPipeline,
    WanTransformer3DModel,
)

from tests.models.diffusers.families.encoders import WIDTH, bert, clip, t5
from tests.models.diffusers.families.references import TOLD_GUIDANCE
from tests.models.diffusers.tiny import tiny_pipeline, tiny_scheduler


def vae(channels: int = 4, *, factor: int = 2, **options: Any) -> Any:
    """Return a decoder whose images are ``factor`` times as large as the latents."""
    blocks = factor.bit_length()
    decoder: Any = AutoencoderKL(
        latent_channels=channels,
        block_out_channels=(8,) * blocks,
        down_block_types=("DownEncoderBlock2D",) * blocks,
        up_block_types=("UpDecoderBlock2D",) * blocks,
        layers_per_block=1,
        norm_num_groups=4,
        sample_size=16,
        **options,
    )
    return decoder.eval()


def stable_diffusion() -> Any:
    return tiny_pipeline("v_prediction", text_gain=30)


def stable_diffusion_xl() -> Any:
    text_encoder, tokenizer = clip()
    text_encoder_2, tokenizer_2 = clip(projection=True)
    unet: Any = UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=WIDTH + 6 * 8,
        cross_attention_dim=2 * WIDTH,
        norm_num_groups=8,
    )
    return StableDiffusionXLPipeline(
        vae=vae(),
        text_encoder=text_encoder,
        text_encoder_2=text_encoder_2,
        tokenizer=tokenizer,
        tokenizer_2=tokenizer_2,
        unet=unet.eval(),
        scheduler=tiny_scheduler(),
        add_watermarker=False,
    )


def pixart_sigma() -> Any:
    text_encoder, tokenizer = t5()
    transformer = PixArtTransformer2DModel(
        sample_size=8,
        num_layers=2,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=2,
        caption_channels=WIDTH,
        cross_attention_dim=16,
        in_channels=4,
        out_channels=8,
        use_additional_conditions=False,
    )
    return PixArtSigmaPipeline(
        tokenizer=tokenizer,
        text_encoder=text_encoder,
        vae=vae(),
        transformer=_awake(transformer),
        scheduler=tiny_scheduler(),
    )


def hunyuan_dit() -> Any:
    text_encoder, tokenizer = bert()
    text_encoder_2, tokenizer_2 = t5()
    transformer = HunyuanDiT2DModel(
        sample_size=8,
        num_layers=2,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=2,
        in_channels=4,
        hidden_size=16,
        cross_attention_dim=WIDTH,
        cross_attention_dim_t5=WIDTH,
        pooled_projection_dim=16,
        text_len=77,
        text_len_t5=256,
    )
    return HunyuanDiTPipeline(
        # Its rotary table is made for a factor of 8.
        vae=vae(factor=8),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        text_encoder_2=text_encoder_2,
        tokenizer_2=tokenizer_2,
        transformer=_awake(transformer),
        scheduler=tiny_scheduler(prediction_type="v_prediction"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def stable_diffusion_3() -> Any:
    text_encoder, tokenizer = clip(projection=True)
    text_encoder_2, tokenizer_2 = clip(projection=True)
    # As wide as both others together.
    text_encoder_3, tokenizer_3 = t5(width=2 * WIDTH)
    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=1,
        in_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        caption_projection_dim=16,
        joint_attention_dim=2 * WIDTH,
        pooled_projection_dim=2 * WIDTH,
        out_channels=4,
    )
    return StableDiffusion3Pipeline(
        transformer=_awake(transformer),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae(shift_factor=0.06),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        text_encoder_2=text_encoder_2,
        tokenizer_2=tokenizer_2,
        text_encoder_3=text_encoder_3,
        tokenizer_3=tokenizer_3,
    )


def flux(*, guidance_embeds: bool = True) -> Any:
    text_encoder, tokenizer = clip()
    text_encoder_2, tokenizer_2 = t5()
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=guidance_embeds,
    )
    pipe: Any = FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=vae(shift_factor=0.1),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        text_encoder_2=text_encoder_2,
        tokenizer_2=tokenizer_2,
        transformer=_awake(transformer),
    )
    # Not among a pipeline's settings: 128 latents a side, 1024 pixels.
    pipe.default_sample_size = 8
    return pipe


def wan() -> Any:
    text_encoder, tokenizer = t5(multilingual=True)
    decoder: Any = AutoencoderKLWan(base_dim=3, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1)
    transformer = WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=16,
        out_channels=16,
        text_dim=WIDTH,
        freq_dim=16,
        ffn_dim=32,
        num_layers=2,
        rope_max_seq_len=32,
    )
    return WanPipeline(
        tokenizer=tokenizer,
        text_encoder=text_encoder,
        vae=decoder.eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        transformer=_awake(transformer),
    )


def _awake(transformer: Any) -> Any:
    """Set all weights to random values, also those that start at zero or close to it."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in transformer.parameters():
            if parameter.ndim > 1:
                fan_in = parameter[0].numel()
                parameter.normal_(0, 1 / fan_in**0.5, generator=generator)
            elif parameter.abs().max() < 1e-6:
                parameter.normal_(0, 0.1, generator=generator)
    return transformer.eval()


PIPELINES: dict[str, Callable[[], Any]] = {
    "stable_diffusion": stable_diffusion,
    "stable_diffusion_xl": stable_diffusion_xl,
    "pixart_sigma": pixart_sigma,
    "hunyuan_dit": hunyuan_dit,
    "stable_diffusion_3": stable_diffusion_3,
    "flux": flux,
    "flux_true_cfg": flux,
    "flux_schnell": lambda: flux(guidance_embeds=False),
    "wan": wan,
}

_OPTIONS: dict[str, dict[str, Any]] = {
    "flux": {"guidance": "embedded"},
    "flux_true_cfg": {"embedded_guidance": TOLD_GUIDANCE},
    "hunyuan_dit": {"height": 64, "width": 64},
    "wan": {"height": 32, "width": 32, "num_frames": 5},
}


def options_of(name: str) -> dict[str, Any]:
    """Return the options of a pipeline's denoiser: its size and its kind of guidance."""
    return {"height": 16, "width": 16, **_OPTIONS.get(name, {})}


def build(name: str) -> Any:
    """Return a pipeline of a family, with the same weights at every call."""
    torch.manual_seed(0)
    pipe = PIPELINES[name]()
    pipe.set_progress_bar_config(disable=True)
    return pipe
