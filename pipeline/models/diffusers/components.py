"""Loading one component of a pipeline, with every weight accounted for.

The libraries initialise a weight that a file lacks with random numbers and only log it. Two
processes would then compute with two different models. So each component is loaded separately, and
every missing, unknown or misshapen weight is an error.
"""

import importlib
from collections.abc import Collection, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import ModelMixin, SchedulerMixin
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline.core.errors import ModelError
from pipeline.core.weight_budget import skeleton
from pipeline.core.weight_files import WeightSizes

CONFIG = "config.json"
"""Name of a component's configuration."""

_LOADABLE = (ModelMixin, PreTrainedModel, PreTrainedTokenizerBase, SchedulerMixin)
"""Base classes of the components that a text-to-image model has."""

_REPORTED = {
    "missing_keys": "lacks",
    "unexpected_keys": "has unknown",
    "mismatched_keys": "has in another shape",
    "error_msgs": "cannot be read:",
    "conversion_errors": "cannot be read:",
}
"""Maps the fields of the libraries' loading reports to words of the error message."""


def component_class(folder: Path, name: str, library: str, kind: str) -> Any:
    """Return the class of the component ``name``.

    Raises ``ModelError`` for anything but a network, tokenizer or scheduler of diffusers or
    transformers.
    """
    # Only these two libraries are imported: model_index.json may name any module.
    module = importlib.import_module(library) if library in ("diffusers", "transformers") else None
    found = getattr(module, kind, None)
    # A class with _backends stands for one whose packages are missing; loading it names them.
    is_loadable = isinstance(found, type) and (
        issubclass(found, _LOADABLE) or hasattr(found, "_backends")
    )
    if not is_loadable:
        raise ModelError(
            f"{folder}: {name} in model_index.json is {library}.{kind}, which is not a network, "
            "tokenizer or scheduler of diffusers or transformers; code in a model folder is never "
            "run"
        )
    return found


def has_weights(component: Any) -> bool:
    """Return True if components of this class are loaded from weight files."""
    return issubclass(component, ModelMixin | PreTrainedModel)


def check_declared(component: Any, folder: Path, held: WeightSizes) -> None:
    """Raise ``ModelError`` if a configuration declares a larger network than the weights hold."""
    if issubclass(component, ModelMixin):
        library: Any = component  # its loader carries no types
        declared = library.load_config(folder, local_files_only=True)
        build = partial(library.from_config, declared)
    else:
        settings = component.config_class.from_pretrained(folder, local_files_only=True)
        build = partial(component, settings)
    skeleton(build, held, folder / CONFIG)


def load_component(
    component: Any, folder: Path, dtype: torch.dtype, variant: str | None
) -> nn.Module:
    """Read a component from its folder.

    Raises ``ModelError`` with the names of weights that are missing, unknown or of another shape.
    """
    loaded, report = component.from_pretrained(
        folder,
        dtype=dtype,
        variant=variant,
        use_safetensors=True,
        local_files_only=True,
        output_loading_info=True,
        # Without this, diffusers raises an error that only refers to the log. With it, mismatched
        # shapes are in the report, by name.
        ignore_mismatched_sizes=True,
    )
    refuse_report(report, folder)
    refuse_unfilled(loaded, folder)
    return loaded  # type: ignore[no-any-return]  # the libraries' loaders carry no types


def refuse_report(report: Mapping[str, Collection[Any]], folder: Path) -> None:
    """Raise ``ModelError`` unless a loading report is free of missing and unused weights."""
    faults = [
        f"it {verb} {some(map(str, report[key]))}"
        for key, verb in _REPORTED.items()
        if report.get(key)
    ]
    if faults:
        raise ModelError(
            f"{folder}: the weights do not match this component: {'; '.join(faults)}. Fetch "
            "its files and its config.json again"
        )


def refuse_unfilled(component: nn.Module, where: Path) -> None:
    """Raise ``ModelError`` for a weight that is declared but was not read from a file."""
    # Components are built on the meta device, so a weight that is still there has no values.
    tensors = (*component.named_parameters(), *component.named_buffers())
    if unfilled := [name for name, tensor in tensors if tensor.is_meta]:
        raise ModelError(
            f"{where}: the weights lack {some(unfilled)} of {type(component).__name__}; fetch them "
            "again"
        )


def some(names: Iterable[str]) -> str:
    """Return the first three names in order, and the number of the remaining ones."""
    ordered = sorted(names)
    more = len(ordered) - 3
    return ", ".join(ordered[:3]) + (f" and {more} more" if more > 0 else "")
