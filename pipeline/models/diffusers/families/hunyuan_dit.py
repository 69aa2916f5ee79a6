"""Hunyuan-DiT: v-prediction, with a CLIP and a T5 encoder that are called separately."""

from typing import Any

from pipeline.models.diffusers.families.family import Family, Inputs

_TEXT_LENGTHS = (77, 256)
"""Number of tokens that the CLIP and the T5 encoder read."""


def _encode(pipe: Any, prompt: str, negative_prompt: str | None) -> Inputs:
    negative = negative_prompt is not None
    inputs: Inputs = {}
    for index, (suffix, length) in enumerate(zip(("", "_2"), _TEXT_LENGTHS, strict=True)):
        embeds, negative_embeds, mask, negative_mask = pipe.encode_prompt(
            prompt,
            device=pipe._execution_device,
            dtype=pipe.text_encoder.dtype,
            do_classifier_free_guidance=negative,
            negative_prompt=negative_prompt,
            max_sequence_length=length,
            text_encoder_index=index,
        )
        inputs[f"prompt_embeds{suffix}"] = negative_embeds if negative else embeds
        inputs[f"prompt_attention_mask{suffix}"] = negative_mask if negative else mask
    return inputs


HUNYUAN_DIT = Family(
    pipeline="HunyuanDiTPipeline",
    encode=_encode,
    options=frozenset({"guidance_rescale", "negative_prompt"}),
    # With binning, the pipeline would sample at another size than was asked for.
    call_options={"use_resolution_binning": False},
    load_options={"safety_checker": None, "requires_safety_checker": False},
    text_widths={
        "cross_attention_dim": (("text_encoder", "hidden_size"),),
        "cross_attention_dim_t5": (("text_encoder_2", "hidden_size"),),
    },
    text_limits=dict(zip(("tokenizer", "tokenizer_2"), _TEXT_LENGTHS, strict=True)),
)
