"""Loading a pipeline from a folder in diffusers' format, or from a single file beside one."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import diffusers
import torch
from diffusers import DiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from safetensors import SafetensorError
from transformers.utils import logging as transformers_logging

from pipeline.errors import ModelError
from pipeline.models.families import FAMILIES
from pipeline.models.model_index import check_model_folder, unused_components
from pipeline.models.pipeline_files import PipelineFiles

# What diffusers, transformers and safetensors raise for a damaged or incomplete folder.
_LOAD_ERRORS = (
    AttributeError,
    ImportError,
    KeyError,
    OSError,
    RuntimeError,
    SafetensorError,
    TypeError,
    ValueError,
)


def load_pipeline(files: PipelineFiles, dtype: torch.dtype, variant: str | None = None) -> Any:
    """Read a pipeline into the machine's memory; nothing is downloaded, no code or pickle is run.

    Raises ``ModelError`` for files that are missing, damaged or of an unsupported class.
    """
    name = check_model_folder(files.folder)
    options = {
        **FAMILIES[name].load_options,
        **dict.fromkeys(unused_components(files.folder)),
        "dtype": dtype,
        "local_files_only": True,
    }
    try:
        with _no_progress_bars():
            if files.checkpoint is not None:
                return _from_checkpoint(name, files, options)
            library: Any = DiffusionPipeline  # its loader carries no types
            return library.from_pretrained(
                files.folder, variant=variant, use_safetensors=True, **options
            )
    except _LOAD_ERRORS as error:
        raise ModelError(f"{files}: the model cannot be loaded: {error}") from error


def _from_checkpoint(name: str, files: PipelineFiles, options: Mapping[str, Any]) -> Any:
    """Weights in the layout of the model's authors; the folder says what they are weights of."""
    pipeline: Any = getattr(diffusers, name)
    if not hasattr(pipeline, "from_single_file"):
        raise ModelError(
            f"{files}: diffusers reads no single file of a {name}; use a folder in its own format"
        )
    return pipeline.from_single_file(str(files.checkpoint), config=str(files.folder), **options)


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """Loading bars of both libraries off, as they were afterwards."""
    libraries = (diffusers_logging, transformers_logging)
    shown = [library for library in libraries if library.is_progress_bar_enabled()]
    for library in shown:
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library in shown:
            library.enable_progress_bar()
