"""What a model folder says it is, without loading it or a model library."""

import json
from pathlib import Path
from typing import Any

from pipeline.errors import ModelError
from pipeline.models.families import FAMILIES

UNUSED = ("safety_checker", "feature_extractor", "image_encoder")
"""Parts that no call for an image needs, and that are not loaded."""


_VOCABULARIES = (
    ("tokenizer.json",),
    ("vocab.json", "merges.txt"),
    ("vocab.txt",),
    ("*.model",),
)
"""Files in which a tokenizer has its vocabulary; one of these sets is enough."""


def check_model_folder(folder: Path) -> str:
    """The class of pipeline in a folder.

    Raises ``ModelError`` for a folder whose own files say that it cannot be used.
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
    """Raise ``ModelError`` for a tokenizer without its vocabulary.

    Without one, transformers builds a tokenizer that knows no word: every prompt is the same.
    """
    if not any(all(any(folder.glob(name)) for name in form) for form in _VOCABULARIES):
        forms = ", ".join(" with ".join(form) for form in _VOCABULARIES)
        raise ModelError(
            f"{folder}: a tokenizer without a vocabulary; it must hold one of {forms}: fetch its "
            "files again"
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
            f"{index}: class {name!r} is code of its own, which is never run; set _class_name to "
            f"one of {supported} if the model is one without it"
        )
    if not isinstance(name, str) or name not in FAMILIES:
        raise ModelError(f"{index}: class {name!r} is not supported; supported: {supported}")
    return str(name)


def component_classes(folder: Path) -> dict[str, tuple[str, str]]:
    """Return library and class of each part that is loaded, by name. Raises ``ModelError``."""
    index = folder / "model_index.json"
    declared = _read_json(index)
    classes = {name: tuple(declared[name]) for name in components(folder)}
    for name, kind in classes.items():
        if len(kind) != 2 or not all(isinstance(part, str) for part in kind):
            raise ModelError(f"{index}: {name} is {list(kind)}; expected are a library and a class")
    return classes


def components(folder: Path) -> list[str]:
    """The parts of a pipeline that are loaded, each a folder in it. Raises ``ModelError``."""
    return [name for name in _parts(folder) if name not in UNUSED]


def unused_components(folder: Path) -> list[str]:
    """The parts of a pipeline that it does without, there or not. Raises ``ModelError``.

    diffusers asks for every part that it is not told to leave out.
    """
    parts = _parts(folder)
    family = FAMILIES[_pipeline_class(folder)]
    missing = [name for name in family.optional_parts if name not in parts]
    return sorted([*missing, *(name for name in parts if name in UNUSED)])


def steps_offset(folder: Path) -> int:
    """Return the offset of a pipeline's leading timesteps. Raises ``ModelError``."""
    if _pipeline_class(folder) == "StableDiffusionPipeline":
        return 1  # this pipeline corrects its scheduler's file
    path = folder / "scheduler" / "scheduler_config.json"
    return int(_read_json(path).get("steps_offset", 0)) if path.is_file() else 0


def _parts(folder: Path) -> list[str]:
    index = folder / "model_index.json"
    if not index.is_file():
        return []  # checking will say so
    parts = {name: part for name, part in _read_json(index).items() if isinstance(part, list)}
    return sorted(name for name, part in parts.items() if any(part))


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
