"""SDXL and what is distilled or tuned from it: Turbo, Lightning, DreamShaper, LCM."""

from pipeline.models.families.family import Family

STABLE_DIFFUSION_XL = Family(
    pipeline="StableDiffusionXLPipeline",
    # The negative is zeros in SDXL base (force_zeros_for_empty_prompt): never that of "".
    encoded=(
        "prompt_embeds",
        "negative_prompt_embeds",
        "pooled_prompt_embeds",
        "negative_pooled_prompt_embeds",
    ),
    load_options={"add_watermarker": False},
    options=frozenset({"clip_skip", "guidance_rescale", "negative_prompt"}),
    text_widths={
        "cross_attention_dim": (("text_encoder", "hidden_size"), ("text_encoder_2", "hidden_size"))
    },
    text_limits={"tokenizer": None, "tokenizer_2": None},
)
