"""What a pipeline's call is told beside prompt, noise, steps and guidance."""

from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.config.model import ModelConfig
from pipeline.errors import ModelError
from pipeline.models.families import FAMILIES, Family

OPTIONS: Mapping[str, str] = {
    "clip_skip": "[model]",
    "embedded_guidance": "[model]",
    "guidance_rescale": "[sampling]",
    "max_sequence_length": "[model]",
    "negative_prompt": "[model]",
    "num_frames": "[model]",
}
"""The options that only some families take, by name, each with its section."""


def call_options(model: ModelConfig) -> dict[str, Any]:
    """What ``[model]`` says of the call, as the denoiser takes it."""
    return {
        "height": model.height,
        "width": model.width,
        "num_frames": model.num_frames,
        "guidance": model.guidance,
        "embedded_guidance": model.embedded_guidance,
        "negative_prompt": model.negative_prompt,
        "max_sequence_length": model.max_sequence_length,
        "clip_skip": model.clip_skip,
    }


def given(**options: Any) -> dict[str, Any]:
    """The options that are set."""
    return {name: value for name, value in options.items() if value is not None}


def refuse_options(family: Family, given: Iterable[str], where: str) -> None:
    """Refuse options that a family does not take: most pipelines ignore what they do not know.

    ``given`` are the names of the options that are set. Raises ``ModelError``.
    """
    for name in given:
        if name in OPTIONS and name not in family.options:
            takers = sorted(each.pipeline for each in FAMILIES.values() if name in each.options)
            raise ModelError(
                f"{where}: {family.pipeline} has no {name}; leave it out of {OPTIONS[name]} "
                f"(it is an option of {', '.join(takers)})"
            )
