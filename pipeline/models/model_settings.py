"""A diffusion model as a plan knows it: digests of its files in place of where they are."""

from typing import Any

from pipeline.config import ModelConfig
from pipeline.models.pipeline_files import locate_pipeline, pipeline_digest
from pipeline.models.source import source_digest
from pipeline.source_config import SourceConfig

PLACES = frozenset(SourceConfig.model_fields)
"""Fields that say where files are, which a plan does not know."""


def model_settings(model: ModelConfig) -> dict[str, Any]:
    """Everything in ``[model]`` that decides what is computed. Raises ``ModelError``."""
    settings = model.model_dump(mode="json", exclude={*PLACES, "config", "variant", "loras"})
    settings["digest"] = pipeline_digest(locate_pipeline(model), model.variant)
    settings["loras"] = [
        {"scale": lora.scale, "digest": source_digest(lora)} for lora in model.loras
    ]
    return settings
