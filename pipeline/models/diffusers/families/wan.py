"""Wan 2.1, text to video: flow matching on latents (B, C, F, H, W), with one UMT5 encoder."""

from typing import Any

from pipeline.models.diffusers.families.family import Family


def _refusal(pipe: Any) -> str | None:
    """Return the reason for rejecting a pipeline with two networks, or None."""
    if pipe.config.boundary_ratio is not None:
        return (
            "this Wan 2.2 model has two networks, for high and for low noise (boundary_ratio); "
            "only models with one network are supported"
        )
    return None


WAN = Family(
    pipeline="WanPipeline",
    encoded=("prompt_embeds", "negative_prompt_embeds"),
    options=frozenset({"max_sequence_length", "negative_prompt", "num_frames"}),
    text_widths={"text_dim": (("text_encoder", "hidden_size"),)},
    text_limits={"tokenizer": 512},
    encode_options={"max_sequence_length": 512},
    refusal=_refusal,
)
