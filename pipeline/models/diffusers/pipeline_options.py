"""Options of a loaded pipeline: placement of its weights, memory format and kernels.

Offloading only moves weights and does not change results. All other options change the last bits of
results, and tiling changes them visibly, so they are part of the plan.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch

from pipeline.config.model import ModelConfig
from pipeline.errors import ModelError

Offload = Literal["none", "model", "sequential"]


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
    if model.compile:
        # Only forward is compiled. A compiled module would have another class and parameter names.
        network.forward = torch.compile(network.forward)


def _enable(vae: Any, what: str) -> None:
    # All decoders have the method, but only those that support the option have the flag.
    if not hasattr(vae, f"use_{what}"):
        raise ModelError(
            f"vae_{what} = true in [model]: {type(vae).__name__} does not support it; remove it"
        )
    getattr(vae, f"enable_{what}")()


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
