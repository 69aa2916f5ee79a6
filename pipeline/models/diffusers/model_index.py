"""Reading and checking of ``model_index.json``, without loading the model or a model library."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.core.errors import ModelError
from pipeline.core.untrusted_files import check_file, check_vocabulary, read_json
from pipeline.models.diffusers.families import FAMILIES, Family
from pipeline.models.named_code import refuse_code

INDEX = "model_index.json"

CONFIG_BYTES = 4 * 2**20
"""Maximum size of a configuration. Published ones have a few KB."""

_UNUSED = ("safety_checker", "feature_extractor", "image_encoder")
"""Components that text-to-image calls do not need. They are not loaded."""

_VOCABULARIES = (
    ("tokenizer.json",),
    ("vocab.json", "merges.txt"),
    ("vocab.txt",),
    ("*.model",),
)
"""Sets of files that hold a tokenizer's vocabulary. One complete set is enough."""


@dataclass(frozen=True, kw_only=True)
class ModelIndex:
    """Contents of a model folder's ``model_index.json``."""

    folder: Path
    family: Family
    """Family of the pipeline class."""
    classes: Mapping[str, tuple[str, str]]
    """Maps each component that is loaded to its library and class, in alphabetical order. Each
    component is a folder within the model folder."""
    unused: tuple[str, ...]
    """Components that are not loaded, with optional ones that the folder lacks."""

    @property
    def components(self) -> tuple[str, ...]:
        """Names of the components that are loaded."""
        return tuple(self.classes)

    @property
    def scheduler_path(self) -> Path:
        """Path of the scheduler's configuration."""
        return self.folder / "scheduler" / "scheduler_config.json"

    @cached_property
    def scheduler_config(self) -> dict[str, Any]:
        """Configuration of the scheduler, or an empty one without its file. Loading raises then."""
        return (
            read_json(self.scheduler_path, ModelError, CONFIG_BYTES)
            if self.scheduler_path.is_file()
            else {}
        )

    @property
    def steps_offset(self) -> int:
        """``steps_offset`` for leading timesteps."""
        if self.family.pipeline == "StableDiffusionPipeline":
            return 1  # diffusers always sets it for this pipeline
        offset = self.scheduler_config.get("steps_offset", 0)
        if not isinstance(offset, int):
            raise ModelError(f"{self.scheduler_path}: steps_offset is {offset!r}, not an integer")
        return offset

    def check(self) -> None:
        """Raise ``ModelError`` for a folder with which no pipeline can be built or inverted."""
        self._refuse_clipping()
        for name in self.components:
            if name.startswith("tokenizer"):
                check_tokenizer(self.folder / name)

    def _refuse_clipping(self) -> None:
        """Raise ``ModelError`` if the scheduler's file clips x_0."""
        # The file is read because diffusers turns the option off while it builds a pipeline. A
        # model that was tuned with clipping would then be sampled without it.
        config = self.scheduler_config
        by_default = config.get("_class_name") in ("DDIMScheduler", "DDPMScheduler")
        if config.get("clip_sample", by_default):
            raise ModelError(
                f"{self.scheduler_path}: clip_sample cannot be inverted; set it to false if the "
                "model works without it"
            )


def read_index(folder: Path) -> ModelIndex:
    """Read the index of a model folder.

    Raises ``ModelError`` for a folder without an index, and for a class that is not supported.
    """
    path = folder / INDEX
    if not path.is_file():
        raise ModelError(
            f"{folder}: no model_index.json here; a model is a folder in diffusers' format "
            f"(save_pretrained) of class {', '.join(FAMILIES)}"
        )
    declared = read_json(path, ModelError, CONFIG_BYTES)
    family = _family(path, declared.get("_class_name"))
    # A part that is absent is declared as [null, null].
    parts = {name: part for name, part in declared.items() if isinstance(part, list) and any(part)}
    # diffusers requires every component that is not explicitly passed as None.
    missing = (name for name in family.optional_parts if name not in parts)
    return ModelIndex(
        folder=folder,
        family=family,
        classes={
            name: _component(path, name, parts[name])
            for name in sorted(parts)
            if name not in _UNUSED
        },
        unused=tuple(sorted([*missing, *(name for name in parts if name in _UNUSED)])),
    )


def check_tokenizer(folder: Path) -> None:
    """Raise ``ModelError`` for a tokenizer of a model without its vocabulary, or that is forged.

    A forged one has links out of the model, names code, or has words of absurd numbers.
    """
    # transformers would build a tokenizer without any word, for which all prompts are the same.
    if not any(all(any(folder.glob(name)) for name in form) for form in _VOCABULARIES):
        forms = ", ".join(" with ".join(form) for form in _VOCABULARIES)
        raise ModelError(
            f"{folder}: a tokenizer without a vocabulary; the folder must have one of {forms}. "
            "Fetch its files again"
        )
    for path in sorted(folder.glob("*.json")):
        check_file(path, ModelError, folder.parent)
        content = read_json(path, ModelError)
        refuse_code(path, content)
        check_vocabulary(path, content, ModelError)


def _family(path: Path, name: object) -> Family:
    supported = ", ".join(FAMILIES)
    if isinstance(name, list) and name:
        raise ModelError(
            f"{path}: class {name!r} is custom code, which is never run; set _class_name to "
            f"one of {supported} if the model works without that code"
        )
    if not isinstance(name, str) or name not in FAMILIES:
        raise ModelError(f"{path}: class {name!r} is not supported; supported: {supported}")
    return FAMILIES[name]


def _component(path: Path, name: str, kind: list[Any]) -> tuple[str, str]:
    if len(kind) != 2 or not all(isinstance(part, str) for part in kind):
        raise ModelError(f"{path}: {name} is {kind}; expected a library and a class")
    if not name.isidentifier():  # it is the name of a folder, and could lead out of the model's
        raise ModelError(f"{path}: {name!r} is not the name of a component")
    library, class_name = kind
    return library, class_name
