"""Loading a pipeline from a folder in diffusers' format."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from safetensors import SafetensorError
from transformers.utils import logging as transformers_logging

from pipeline.errors import ModelError
from pipeline.models.families import FAMILIES
from pipeline.models.model_index import check_model_folder

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


def load_pipeline(folder: Path, device: torch.device, dtype: torch.dtype) -> Any:
    """Read a model folder; nothing is downloaded, no code or pickle in it is run.

    Raises ``ModelError`` for a folder that is missing, damaged or of an unsupported class.
    """
    family = FAMILIES[check_model_folder(folder)]
    library: Any = DiffusionPipeline  # its loader carries no types
    try:
        with _no_progress_bars():
            pipe = library.from_pretrained(
                folder,
                dtype=dtype,
                local_files_only=True,
                use_safetensors=True,
                **family.load_options,
            )
    except _LOAD_ERRORS as error:
        raise ModelError(f"{folder}: the model cannot be loaded: {error}") from error
    pipe.to(device)
    return pipe


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
