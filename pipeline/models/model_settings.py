"""A diffusion model as a plan knows it: digests of its files in place of where they are."""

from typing import Any

from pipeline.config.model import ModelConfig
from pipeline.config.source import SourceConfig
from pipeline.models.model_index import steps_offset
from pipeline.models.pipeline_files import locate_pipeline, pipeline_digest
from pipeline.models.source import source_digest

PLACES = frozenset(SourceConfig.model_fields)
"""Fields that say where files are, which a plan does not know."""

_FUSED_BY = "file"
"""Each layer's strength is the one that the LoRA's file declares.

Layers with alphas of their own once had another strength. Plans with LoRAs therefore have another
id than they had then, and no build continues with half of its units fused otherwise.
"""


def model_settings(model: ModelConfig) -> dict[str, Any]:
    """Everything in ``[model]`` that decides what is computed, but for the files."""
    settings = model.model_dump(mode="json", exclude={*PLACES, "config", "variant"})
    settings["loras"] = [{"scale": lora.scale} for lora in model.loras]
    return settings


def model_digests(model: ModelConfig) -> dict[str, Any]:
    """What to add to ``model_settings`` for the files. Raises ``ModelError``."""
    return {
        "digest": pipeline_digest(locate_pipeline(model), model.variant),
        "loras": [
            {"scale": lora.scale, "digest": source_digest(lora), "fused_by": _FUSED_BY}
            for lora in model.loras
        ],
    }


def leading_offset(model: ModelConfig) -> dict[str, Any]:
    """What to add to ``model_settings`` if a proposer asks for leading timesteps.

    Leading timesteps once had the offset 1 for every model. A model with another offset now has
    another schedule, so its plan is another plan; all other plans keep their ids. Raises
    ``ModelError``.
    """
    options = {} if model.scheduler is None else model.scheduler.options
    offset = options.get("steps_offset", steps_offset(locate_pipeline(model).folder))
    return {} if offset == 1 else {"steps_offset": offset}
