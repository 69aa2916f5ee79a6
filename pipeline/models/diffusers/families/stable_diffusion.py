"""Stable Diffusion 1.x and 2.x, with epsilon or v prediction."""

from typing import Any

from pipeline.models.diffusers.families.family import Family


def _prepare(pipe: Any) -> None:
    """Make ``clip_skip`` work with transformers 5."""
    # diffusers 0.42 looks for CLIP's last norm in ``text_model``. The text encoder of transformers
    # 5 has no such module, because it is that module itself.
    if not hasattr(pipe.text_encoder, "text_model"):
        # Not set as a submodule: iterating over a module that contains itself would not end.
        vars(pipe.text_encoder)["text_model"] = pipe.text_encoder


STABLE_DIFFUSION = Family(
    pipeline="StableDiffusionPipeline",
    encoded=("prompt_embeds", "negative_prompt_embeds"),
    encode_options={"num_images_per_prompt": 1},
    load_options={"safety_checker": None, "requires_safety_checker": False},
    options=frozenset({"clip_skip", "guidance_rescale", "negative_prompt"}),
    prepare=_prepare,
    text_widths={"cross_attention_dim": (("text_encoder", "hidden_size"),)},
)
