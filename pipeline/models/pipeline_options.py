"""How a loaded pipeline computes: where its weights wait, in which memory format, in which kernels.

All but offloading changes results in their last bits, and tiling visibly: those are part of the
plan. Offloading moves weights and computes the same on the same device.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch

from pipeline.config.model import ModelConfig
from pipeline.errors import ModelError

Offload = Literal["none", "model", "sequential"]


def place(pipe: Any, device: torch.device, offload: Offload) -> None:
    """Move a pipeline to where it computes. Raises ``ModelError``."""
    if offload == "none":
        pipe.to(device)
    elif device.type == "cpu":
        raise ModelError(
            f"cpu_offload = {offload!r} in [cluster] moves weights to a GPU and back, and this "
            "machine has none; set it to 'none'"
        )
    elif offload == "model":
        pipe.enable_model_cpu_offload(device=device)
    else:
        pipe.enable_sequential_cpu_offload(device=device)


@contextmanager
def sequential_faults(where: str, offload: Offload) -> Iterator[None]:
    """Say what to do where a model cannot compute layer by layer: diffusers tells it by failing.

    Seen with HunyuanDiTPipeline, which reads weights of layers that it does not call.
    """
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
    """Set what ``[model]`` says of kernels and memory, before the pipeline is placed.

    Raises ``ModelError`` for an option that the model or this machine does not have.
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
        # The call alone, and not the module: what others see of it stays as it is.
        network.forward = torch.compile(network.forward)


def _enable(vae: Any, what: str) -> None:
    # Every decoder of diffusers can be told to; one that can has this flag.
    if not hasattr(vae, f"use_{what}"):
        raise ModelError(
            f"vae_{what} = true in [model]: {type(vae).__name__} cannot decode like that; "
            "leave it out"
        )
    getattr(vae, f"enable_{what}")()


def _set_attention(network: Any, backend: str) -> None:
    try:
        network.set_attention_backend(backend)
    except (AttributeError, ImportError, RuntimeError, ValueError) as error:
        raise ModelError(f"attention_backend = {backend!r} in [model]: {error}") from error
    taken = (getattr(module, "processor", None) for module in network.modules())
    if not any(getattr(each, "_attention_backend", None) == backend for each in taken):
        # diffusers passes over attention that it cannot switch, and says nothing.
        raise ModelError(
            f"attention_backend = {backend!r} in [model]: {type(network).__name__} always uses "
            "torch's own choice; leave it out"
        )
