"""Pipelines of diffusers: loading from files, options of ``[model]``, and placement on a device.

Offloading only moves weights and does not change results. All other options change the last bits of
results, and tiling changes them visibly, so they are part of the plan.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch
from diffusers import DiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from torch import nn
from transformers.utils import logging as transformers_logging

from pipeline.config.model import ModelConfig
from pipeline.core.errors import ModelError, NPDError
from pipeline.models.diffusers.components import (
    check_declared,
    component_class,
    has_weights,
    load_component,
)
from pipeline.models.diffusers.declarations import (
    refuse_other_architecture,
    refuse_other_scheduler,
    refuse_parts_of_several_models,
)
from pipeline.models.diffusers.resolved_model import ResolvedModel
from pipeline.models.diffusers.single_file import load_single_file
from pipeline.models.diffusers.untrusted_folder import check_folder, weights_in

Offload = Literal["none", "model", "sequential"]

_SHAPES = 256
"""Maximum number of shapes and sizes for which a kind of block is compiled."""

_OF_THE_DEVICE = (torch.AcceleratorError, torch.OutOfMemoryError)
"""Errors that a worker turns into a ``DeviceError``."""


@contextmanager
def model_faults(where: str) -> Iterator[None]:
    """Turn every error that is not of the device into a ``ModelError`` about the model ``where``.

    Use it around calls of the libraries that read or run a model.
    """
    try:
        yield
    except (NPDError, *_OF_THE_DEVICE):
        raise
    except Exception as error:  # for a damaged folder, the libraries raise errors of every type
        kind = type(error).__name__
        raise ModelError(f"{where}: the model cannot be loaded: {error} ({kind})") from error


def load_pipeline(model: ResolvedModel, dtype: torch.dtype) -> Any:
    """Read a pipeline into main memory. Nothing is downloaded, and no code or pickle is run.

    Raises ``ModelError`` for files that are missing, damaged or of an unsupported class, and for
    weights whose names or shapes do not match their components.
    """
    model.index.check()
    check_folder(model.folder, model.files)
    options = {
        **model.index.family.load_options,
        **dict.fromkeys(model.index.unused),
        "local_files_only": True,
    }
    with model_faults(str(model)), _no_progress_bars():
        refuse_other_scheduler(model.index)
        pipe = _read(model, dtype, options)
        refuse_parts_of_several_models(pipe, str(model))
        return pipe


def place(pipe: Any, device: torch.device, offload: Offload) -> None:
    """Move a pipeline to its device, or set up offloading. Raises ``ModelError``."""
    if offload == "none":
        pipe.to(device)
    elif device.type == "cpu":
        raise ModelError(
            f"cpu_offload = {offload!r} in [cluster] moves weights to a GPU and back, but this "
            "machine has none; set it to 'none'"
        )
    elif offload == "model":
        pipe.enable_model_cpu_offload(device=device)
    else:
        pipe.enable_sequential_cpu_offload(device=device)


@contextmanager
def sequential_faults(where: str, offload: Offload) -> Iterator[None]:
    """Turn failures of a model under sequential offloading into a ``ModelError`` with advice."""
    # diffusers does not announce that a model cannot be offloaded layer by layer, it fails.
    # HunyuanDiTPipeline is one: it reads weights of layers that it does not call.
    try:
        yield
    except (torch.OutOfMemoryError, torch.AcceleratorError):
        raise
    except RuntimeError as error:
        if offload != "sequential":
            raise
        raise ModelError(
            f"{where}: cannot compute with cpu_offload = 'sequential' in [cluster] ({error}); "
            "take 'model' or 'none'"
        ) from error


def apply_options(pipe: Any, model: ModelConfig) -> None:
    """Apply the options of ``[model]`` for kernels and memory. Call it before ``place``.

    Raises ``ModelError`` for an option that the model or this machine does not support.
    """
    network = pipe.unet if hasattr(pipe, "unet") else pipe.transformer
    if model.channels_last:
        network.to(memory_format=torch.channels_last)
        pipe.vae.to(memory_format=torch.channels_last)
    if model.attention_backend is not None:
        _set_attention(network, model.attention_backend)
    if model.vae_slicing:
        _enable(pipe.vae, "slicing")
    if model.vae_tiling:
        _enable(pipe.vae, "tiling")
    if model.compile == "blocks":
        _compile_blocks(network)
    elif model.compile:
        # Only forward is compiled. A compiled module would have another class and parameter names.
        network.forward = torch.compile(network.forward)


def _read(model: ResolvedModel, dtype: torch.dtype, options: Mapping[str, Any]) -> Any:
    if model.checkpoint is not None:
        pipe = load_single_file(model.checkpoint, model.index, dtype, options)
        refuse_other_architecture(pipe, model.checkpoint)
        return pipe
    library: Any = DiffusionPipeline  # its loader carries no types
    return library.from_pretrained(model.folder, **options, **_components(model, dtype))


def _components(model: ResolvedModel, dtype: torch.dtype) -> dict[str, nn.Module]:
    """Load all components of a folder that have weights."""
    classes = {
        name: component_class(model.folder, name, *kind)
        for name, kind in model.index.classes.items()
    }
    loaded = {}
    for name, component in classes.items():
        if has_weights(component):
            folder = model.folder / name
            check_declared(component, folder, weights_in(folder, model.files))
            loaded[name] = load_component(component, folder, dtype, model.variants[name])
    return loaded


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


def _enable(vae: Any, what: str) -> None:
    # All decoders have the method, but only those that support the option have the flag.
    if not hasattr(vae, f"use_{what}"):
        raise ModelError(
            f"vae_{what} = true in [model]: {type(vae).__name__} does not support it; remove it"
        )
    getattr(vae, f"enable_{what}")()


def _compile_blocks(network: Any) -> None:
    try:
        # One graph for each shape. A graph for all shapes would depend on which came first.
        network.compile_repeated_blocks(dynamic=False)
    except ValueError as error:  # no class of its blocks is named, or none is in the network
        raise ModelError(
            f"compile = 'blocks' in [model]: {type(network).__name__} has no repeated blocks; use "
            "compile = true"
        ) from error
    settings: Any = torch._dynamo.config
    # All blocks of a kind share this limit. Beyond it, torch would compute without compiling, with
    # other last bits for the shapes that a process met last.
    settings.recompile_limit = _SHAPES
    settings.fail_on_recompile_limit_hit = True


def _set_attention(network: Any, backend: str) -> None:
    try:
        network.set_attention_backend(backend)
    except (AttributeError, ImportError, RuntimeError, ValueError) as error:
        raise ModelError(f"attention_backend = {backend!r} in [model]: {error}") from error
    taken = (getattr(module, "processor", None) for module in network.modules())
    if not any(getattr(each, "_attention_backend", None) == backend for each in taken):
        # diffusers silently skips attention layers that it cannot switch.
        raise ModelError(
            f"attention_backend = {backend!r} in [model]: {type(network).__name__} always uses "
            "torch's own choice; remove it"
        )
