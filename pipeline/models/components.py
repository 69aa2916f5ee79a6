"""Loading one component of a pipeline, with every weight accounted for.

A library fills a weight that a file lacks with random numbers and reports it in its log alone. Two
processes would then compute with two models. So each component is loaded by itself, and what its
library reports of the file's names is an error here.
"""

import importlib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import ModelMixin
from torch import nn
from transformers import PreTrainedModel

from pipeline.errors import ModelError

_REPORTED = {
    "missing_keys": "lacks",
    "unexpected_keys": "has unknown",
    "mismatched_keys": "has in another shape",
    "error_msgs": "cannot be read:",
    "conversion_errors": "cannot be read:",
}
"""What both libraries report of a file, and how it reads in an error."""


def component_class(folder: Path, name: str, library: str, kind: str) -> Any:
    """Return the class of the component ``name``. Raises ``ModelError`` for one of no library."""
    module = importlib.import_module(library) if library in ("diffusers", "transformers") else None
    found = getattr(module, kind, None)
    if found is None:
        raise ModelError(
            f"{folder}: {name} in model_index.json is {library}.{kind}, which is no class of "
            "diffusers or transformers; code in a model folder is never run"
        )
    return found


def has_weights(component: Any) -> bool:
    """Return whether components of a class are loaded from weights."""
    return isinstance(component, type) and issubclass(component, ModelMixin | PreTrainedModel)


def load_component(
    component: Any, folder: Path, dtype: torch.dtype, variant: str | None
) -> nn.Module:
    """Read a component from its folder.

    Raises ``ModelError`` that names the weights that the files lack, that the component does not
    have, or that have another shape.
    """
    loaded, report = component.from_pretrained(
        folder,
        dtype=dtype,
        variant=variant,
        use_safetensors=True,
        local_files_only=True,
        output_loading_info=True,
        # Reported by name with the others, in place of an error that refers to the log.
        ignore_mismatched_sizes=True,
    )
    refuse_report(report, folder)
    refuse_unfilled(loaded, folder)
    return loaded  # type: ignore[no-any-return]  # the libraries' loaders carry no types


def refuse_report(report: Mapping[str, Collection[Any]], folder: Path) -> None:
    """Raise ``ModelError`` unless a library reports that all names of a file were used."""
    faults = [
        f"it {verb} {some(map(str, report[key]))}"
        for key, verb in _REPORTED.items()
        if report.get(key)
    ]
    if faults:
        raise ModelError(
            f"{folder}: the weights are not those of this component: {'; '.join(faults)}. Fetch "
            "its files and its config.json again"
        )


def refuse_unfilled(component: nn.Module, where: Path) -> None:
    """Raise ``ModelError`` for a weight that was declared and never read."""
    tensors = (*component.named_parameters(), *component.named_buffers())
    if unfilled := [name for name, tensor in tensors if tensor.is_meta]:
        raise ModelError(
            f"{where}: the weights lack {some(unfilled)} of {type(component).__name__}; fetch them "
            "again"
        )


def some(names: Iterable[str]) -> str:
    """Return the first three of some names, and how many more there are."""
    ordered = sorted(names)
    more = len(ordered) - 3
    return ", ".join(ordered[:3]) + (f" and {more} more" if more > 0 else "")
