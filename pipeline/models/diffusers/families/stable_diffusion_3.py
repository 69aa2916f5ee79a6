"""Stable Diffusion 3 and 3.5: flow matching with three text encoders, of which T5 is optional."""

from pipeline.models.diffusers.families.family import Family

STABLE_DIFFUSION_3 = Family(
    pipeline="StableDiffusion3Pipeline",
    encoded=(
        "prompt_embeds",
        "negative_prompt_embeds",
        "pooled_prompt_embeds",
        "negative_pooled_prompt_embeds",
    ),
    encode_options={"prompt_2": None, "prompt_3": None},
    optional_parts=("text_encoder_3", "tokenizer_3"),
    options=frozenset({"clip_skip", "max_sequence_length", "negative_prompt"}),
    text_widths={
        "joint_attention_dim": (("text_encoder_3", "hidden_size"),),
        "pooled_projection_dim": (
            ("text_encoder", "projection_dim"),
            ("text_encoder_2", "projection_dim"),
        ),
    },
    text_limits={"tokenizer": None, "tokenizer_2": None, "tokenizer_3": 256},
)
