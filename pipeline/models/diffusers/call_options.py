"""Optional arguments of a pipeline's call that the configuration sets.

Prompt, noise, number of steps and guidance scale are not among them.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.config.model import ModelConfig
from pipeline.core.errors import ModelError
from pipeline.models.diffusers.families import FAMILIES, Family

OPTIONS: Mapping[str, str] = {
    "clip_skip": "[model]",
    "embedded_guidance": "[model]",
    "guidance_rescale": "[sampling]",
    "max_sequence_length": "[model]",
    "negative_prompt": "[model]",
    "num_frames": "[model]",
}
"""Maps each option that only some families accept to its section of the configuration."""


def call_options(model: ModelConfig) -> dict[str, Any]:
    """Return the settings of ``[model]`` as keyword arguments of ``DiffusersDenoiser``."""
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
    """Return the options that are not None."""
    return {name: value for name, value in options.items() if value is not None}


def refuse_options(family: Family, given: Iterable[str], where: str) -> None:
    """Raise ``ModelError`` if a family does not accept one of the options.

    ``given`` are the names of the options that are set; ``where`` names the model in the error.
    """
    # Most pipelines ignore options that they do not know, so the setting would have no effect.
    for name in given:
        if name in OPTIONS and name not in family.options:
            takers = sorted(each.pipeline for each in FAMILIES.values() if name in each.options)
            raise ModelError(
                f"{where}: {family.pipeline} has no {name}; remove it from {OPTIONS[name]} "
                f"(it is an option of {', '.join(takers)})"
            )
