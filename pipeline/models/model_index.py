"""What a model folder says it is, without loading it or a model library."""

import json
from pathlib import Path
from typing import Any

from pipeline.errors import ModelError

SUPPORTED_PIPELINES = ("StableDiffusionPipeline",)


def check_model_folder(folder: Path) -> None:
    """Refuse a folder whose own files say that it cannot be used. Raises ``ModelError``."""
    if not folder.is_dir():
        raise ModelError(f"{folder}: no such model folder; put the model's files there")
    _refuse_other_classes(folder)
    _refuse_clipping(folder)


def _refuse_other_classes(folder: Path) -> None:
    supported = ", ".join(SUPPORTED_PIPELINES)
    index = folder / "model_index.json"
    if not index.is_file():
        raise ModelError(
            f"{folder}: no model_index.json here; a model is a folder in diffusers' format "
            f"(save_pretrained) of class {supported}"
        )
    name = _read_json(index).get("_class_name")
    if name not in SUPPORTED_PIPELINES:
        raise ModelError(f"{index}: class {name!r} is not supported; supported: {supported}")


def _refuse_clipping(folder: Path) -> None:
    """Refuse a scheduler that clips x_0, from its file.

    The pipeline object cannot be asked: diffusers turns the option off while it builds one, so that
    a model tuned with clipping would be sampled without it.
    """
    path = folder / "scheduler" / "scheduler_config.json"
    if not path.is_file():
        return  # loading will say so
    declared = _read_json(path)
    by_default = declared.get("_class_name") in ("DDIMScheduler", "DDPMScheduler")
    if declared.get("clip_sample", by_default):
        raise ModelError(
            f"{path}: clip_sample cannot be inverted; set it to false if the model does without it"
        )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path}: a JSON object is expected, not {type(content).__name__}")
    return content
