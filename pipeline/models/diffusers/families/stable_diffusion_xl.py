"""SDXL and models that are distilled or fine-tuned from it: Turbo, Lightning, DreamShaper, LCM."""

from pipeline.models.diffusers.families.family import Family

STABLE_DIFFUSION_XL = Family(
    pipeline="StableDiffusionXLPipeline",
    # Without a negative prompt, SDXL base uses zeros (force_zeros_for_empty_prompt) and not the
    # encoding of "".
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
