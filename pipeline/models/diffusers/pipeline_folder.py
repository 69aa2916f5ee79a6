"""Loading a pipeline from a folder in diffusers' format, or from a single file with a folder."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from diffusers.loaders.single_file_utils import SingleFileComponentError
from diffusers.utils import logging as diffusers_logging
from safetensors import SafetensorError
from torch import nn
from transformers.utils import logging as transformers_logging

from pipeline.errors import ModelError
from pipeline.models.diffusers.components import component_class, has_weights, load_component
from pipeline.models.diffusers.declarations import (
    refuse_other_architecture,
    refuse_other_scheduler,
    refuse_parts_of_several_models,
)
from pipeline.models.diffusers.families import FAMILIES
from pipeline.models.diffusers.model_index import (
    check_model_folder,
    component_classes,
    components,
    unused_components,
)
from pipeline.models.diffusers.pipeline_files import PipelineFiles, weight_variants
from pipeline.models.diffusers.single_file import load_single_file

# diffusers, transformers and safetensors raise these for a damaged or incomplete folder.
_LOAD_ERRORS = (
    AttributeError,
    ImportError,
    KeyError,
    OSError,
    RuntimeError,
    SafetensorError,
    SingleFileComponentError,
    TypeError,
    ValueError,
)


def load_pipeline(files: PipelineFiles, dtype: torch.dtype, variant: str | None = None) -> Any:
    """Read a pipeline into main memory. Nothing is downloaded, and no code or pickle is run.

    Raises ``ModelError`` for files that are missing, damaged or of an unsupported class, and for
    weights whose names or shapes do not match their components.
    """
    name = check_model_folder(files.folder)
    options = {
        **FAMILIES[name].load_options,
        **dict.fromkeys(unused_components(files.folder)),
        "local_files_only": True,
    }
    try:
        with _no_progress_bars():
            refuse_other_scheduler(files.folder)
            pipe = _read(name, files, dtype, variant, options)
            refuse_parts_of_several_models(pipe, str(files))
            return pipe
    except _LOAD_ERRORS as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"{files}: the model cannot be loaded: {error}") from error


def _read(
    name: str,
    files: PipelineFiles,
    dtype: torch.dtype,
    variant: str | None,
    options: Mapping[str, Any],
) -> Any:
    if files.checkpoint is not None:
        pipe = load_single_file(name, files.checkpoint, files.folder, dtype, options)
        refuse_other_architecture(pipe, files.checkpoint)
        return pipe
    library: Any = DiffusionPipeline  # its loader carries no types
    return library.from_pretrained(
        files.folder, **options, **_components(files.folder, dtype, variant)
    )


def _components(folder: Path, dtype: torch.dtype, variant: str | None) -> dict[str, nn.Module]:
    """Load all components of a folder that have weights."""
    variants = weight_variants(folder, components(folder), variant)
    classes = {
        name: component_class(folder, name, *kind)
        for name, kind in component_classes(folder).items()
    }
    return {
        name: load_component(component, folder / name, dtype, variants[name])
        for name, component in classes.items()
        if has_weights(component)
    }


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """Disable the progress bars of both libraries, and restore them afterwards."""
    libraries = (diffusers_logging, transformers_logging)
    shown = [library for library in libraries if library.is_progress_bar_enabled()]
    for library in shown:
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library in shown:
            library.enable_progress_bar()
