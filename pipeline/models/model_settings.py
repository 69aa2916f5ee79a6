"""Settings of a diffusion model for a plan: digests of its files instead of their paths."""

from typing import Any

from pipeline.config.model import ModelConfig
from pipeline.config.source import SourceConfig
from pipeline.models.diffusers.model_index import steps_offset
from pipeline.models.diffusers.pipeline_files import locate_pipeline, pipeline_digest
from pipeline.models.source import source_digest

PLACES = frozenset(SourceConfig.model_fields)
"""Fields with the location of files. They are not part of a plan."""

_FUSED_BY = "file"
"""Marks in the plan that each layer's strength is read from the LoRA file."""
# Earlier versions fused layers with individual alphas in another strength. The mark changes the id
# of plans with LoRAs, so no build continues with units that were fused differently.


def model_settings(model: ModelConfig) -> dict[str, Any]:
    """Return the settings of ``[model]`` that decide the result, without the files."""
    settings = model.model_dump(mode="json", exclude={*PLACES, "config", "variant"})
    settings["loras"] = [{"scale": lora.scale} for lora in model.loras]
    return settings


def model_digests(model: ModelConfig) -> dict[str, Any]:
    """Return the digests of the model's files, to add to ``model_settings``.

    Raises ``ModelError``.
    """
    return {
        "digest": pipeline_digest(locate_pipeline(model), model.variant),
        "loras": [
            {"scale": lora.scale, "digest": source_digest(lora), "fused_by": _FUSED_BY}
            for lora in model.loras
        ],
    }


def leading_offset(model: ModelConfig) -> dict[str, Any]:
    """Return the offset of leading timesteps, to add to ``model_settings``. Raises ``ModelError``.

    It is needed if a proposer uses leading timesteps.
    """
    # Earlier versions used the offset 1 for every model. Only models with another offset have
    # another schedule now, so only their plans get a new id.
    options = {} if model.scheduler is None else model.scheduler.options
    offset = options.get("steps_offset", steps_offset(locate_pipeline(model).folder))
    return {} if offset == 1 else {"steps_offset": offset}
