"""Wan 2.1, text to video: a flow over latents of five dimensions, one UMT5 encoder."""

from typing import Any

from pipeline.models.families.family import Family


def _refusal(pipe: Any) -> str | None:
    """Why a pipeline of two networks cannot be used."""
    if pipe.config.boundary_ratio is not None:
        return (
            "this Wan 2.2 has a network for high noise and one for low (boundary_ratio); "
            "models of one network alone are supported"
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
