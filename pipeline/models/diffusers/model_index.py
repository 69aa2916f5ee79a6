"""Reading and checking of ``model_index.json``, without loading the model or a model library."""

import json
from pathlib import Path
from typing import Any

from pipeline.errors import ModelError
from pipeline.models.diffusers.families import FAMILIES

UNUSED = ("safety_checker", "feature_extractor", "image_encoder")
"""Components that text-to-image calls do not need. They are not loaded."""


_VOCABULARIES = (
    ("tokenizer.json",),
    ("vocab.json", "merges.txt"),
    ("vocab.txt",),
    ("*.model",),
)
"""Sets of files that hold a tokenizer's vocabulary. One complete set is enough."""


def check_model_folder(folder: Path) -> str:
    """Return the pipeline class of a model folder.

    Raises ``ModelError`` if the folder is missing, incomplete or not supported.
    """
    if not folder.is_dir():
        raise ModelError(f"{folder}: no such model folder; put the model's files there")
    name = _pipeline_class(folder)
    _refuse_clipping(folder)
    for part in components(folder):
        if part.startswith("tokenizer"):
            check_tokenizer(folder / part)
    return name


def check_tokenizer(folder: Path) -> None:
    """Raise ``ModelError`` for a tokenizer without its vocabulary."""
    # transformers would build a tokenizer without any word, for which all prompts are the same.
    if not any(all(any(folder.glob(name)) for name in form) for form in _VOCABULARIES):
        forms = ", ".join(" with ".join(form) for form in _VOCABULARIES)
        raise ModelError(
            f"{folder}: a tokenizer without a vocabulary; the folder must have one of {forms}. "
            "Fetch its files again"
        )


def _pipeline_class(folder: Path) -> str:
    supported = ", ".join(FAMILIES)
    index = folder / "model_index.json"
    if not index.is_file():
        raise ModelError(
            f"{folder}: no model_index.json here; a model is a folder in diffusers' format "
            f"(save_pretrained) of class {supported}"
        )
    name = _read_json(index).get("_class_name")
    if isinstance(name, list) and name:
        raise ModelError(
            f"{index}: class {name!r} is custom code, which is never run; set _class_name to "
            f"one of {supported} if the model works without that code"
        )
    if not isinstance(name, str) or name not in FAMILIES:
        raise ModelError(f"{index}: class {name!r} is not supported; supported: {supported}")
    return str(name)


def component_classes(folder: Path) -> dict[str, tuple[str, str]]:
    """Return library and class of each component that is loaded. Raises ``ModelError``."""
    index = folder / "model_index.json"
    declared = _read_json(index)
    classes = {name: tuple(declared[name]) for name in components(folder)}
    for name, kind in classes.items():
        if len(kind) != 2 or not all(isinstance(part, str) for part in kind):
            raise ModelError(f"{index}: {name} is {list(kind)}; expected a library and a class")
    return classes


def components(folder: Path) -> list[str]:
    """Return the names of the components that are loaded. Raises ``ModelError``.

    Each component is a folder within the model folder.
    """
    return [name for name in _parts(folder) if name not in UNUSED]


def unused_components(folder: Path) -> list[str]:
    """Return the names of the components that are not loaded. Raises ``ModelError``.

    They include optional ones that the folder lacks.
    """
    # diffusers requires every component that is not explicitly passed as None.
    parts = _parts(folder)
    family = FAMILIES[_pipeline_class(folder)]
    missing = [name for name in family.optional_parts if name not in parts]
    return sorted([*missing, *(name for name in parts if name in UNUSED)])


def steps_offset(folder: Path) -> int:
    """Return ``steps_offset`` for leading timesteps. Raises ``ModelError``."""
    if _pipeline_class(folder) == "StableDiffusionPipeline":
        return 1  # diffusers always sets it for this pipeline
    path = folder / "scheduler" / "scheduler_config.json"
    return int(_read_json(path).get("steps_offset", 0)) if path.is_file() else 0


def _parts(folder: Path) -> list[str]:
    index = folder / "model_index.json"
    if not index.is_file():
        return []  # check_model_folder raises for it
    parts = {name: part for name, part in _read_json(index).items() if isinstance(part, list)}
    return sorted(name for name, part in parts.items() if any(part))


def _refuse_clipping(folder: Path) -> None:
    """Raise ``ModelError`` if the scheduler's file clips x_0."""
    # The file is read because diffusers turns the option off while it builds a pipeline. A model
    # that was tuned with clipping would then be sampled without it.
    path = folder / "scheduler" / "scheduler_config.json"
    if not path.is_file():
        return  # loading raises for it
    declared = _read_json(path)
    by_default = declared.get("_class_name") in ("DDIMScheduler", "DDPMScheduler")
    if declared.get("clip_sample", by_default):
        raise ModelError(
            f"{path}: clip_sample cannot be inverted; set it to false if the model works without it"
        )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path}: expected a JSON object, not {type(content).__name__}")
    return content
