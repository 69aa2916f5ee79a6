"""Stable Diffusion 1.x and 2.x, epsilon and v."""

from typing import Any

from pipeline.models.families.family import Family


def _refusal(pipe: Any) -> str | None:
    """Why a tokenizer cannot be used that reads more than its text encoder."""
    longest = pipe.text_encoder.config.max_position_embeddings
    if pipe.tokenizer.model_max_length > longest:
        return (
            f"the tokenizer's model_max_length {pipe.tokenizer.model_max_length} exceeds the "
            f"{longest} positions of the text encoder; mend tokenizer/tokenizer_config.json"
        )
    return None


STABLE_DIFFUSION = Family(
    pipeline="StableDiffusionPipeline",
    encoded=("prompt_embeds", "negative_prompt_embeds"),
    encode_options={"num_images_per_prompt": 1},
    load_options={"safety_checker": None, "requires_safety_checker": False},
    refusal=_refusal,
)
