"""Loading of weights into networks, in float32 and with exactly the expected names and shapes."""

from collections.abc import Callable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import TypeVar

import torch
from accelerate import init_empty_weights
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from pipeline.core.errors import ModelError
from pipeline.core.weight_budget import skeleton
from pipeline.core.weight_files import WeightSizes, check_loaded, check_pickle, check_weights

_UNREADABLE = (AttributeError, RuntimeError, TypeError, ValueError)

Tensors = dict[str, Tensor]
Module = TypeVar("Module", bound=nn.Module)


def read_tensors(path: Path) -> Tensors:
    """Read the tensors of a safetensors file or of a published pickle.

    Only tensors are read from a pickle, and no code in it is run. Raises ``ModelError``.
    """
    try:
        if path.suffix == ".safetensors":
            check_weights(path)
            return load_file(path)
        check_pickle(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise ModelError(
            f"{path} contains more than tensors and is not opened, because it may run code; "
            f"fetch the published file again ({error})"
        ) from error
    except (EOFError, LookupError, MemoryError, OSError, SafetensorError, *_UNREADABLE) as error:
        raise ModelError(f"{path} is damaged ({error}); fetch it again") from error
    tensors = loaded.get("state_dict", loaded) if isinstance(loaded, Mapping) else {}
    if not tensors or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise ModelError(f"{path} has no named tensors; fetch the published file again")
    check_loaded(path, tensors)
    return dict(tensors)


def fill(build: Callable[[], Module], tensors: Tensors, path: Path) -> Module:
    """Build a network with the given weights, in float32 and for inference.

    Raises ``ModelError`` unless ``tensors``, read from ``path``, have exactly the names and shapes
    of its parameters.
    """
    # Compared without memory first: the sizes come from a file beside the weights.
    try:
        declared = skeleton(build, WeightSizes.of_tensors(tensors), path)
    except ModelError:
        raise
    except Exception as error:  # sizes that fit no network have errors without a common type
        raise ModelError(f"{path}: the sizes beside it describe no network: {error}") from error
    _refuse_other_parameters(declared, tensors, path)
    # Built without weights: random ones would take seconds and twice the memory.
    with init_empty_weights(include_buffers=False):
        network = build()
    # Always copied, also from float32: the alignment of tensors in a file can change the last bit
    # of a score.
    weights = {name: t.to(torch.float32, copy=True) for name, t in tensors.items()}
    network.load_state_dict(weights, assign=True)
    return network.eval().requires_grad_(False)


def _refuse_other_parameters(network: nn.Module, tensors: Tensors, path: Path) -> None:
    expected = {(name, tuple(t.shape)) for name, t in network.state_dict().items()}
    found = {(name, tuple(t.shape)) for name, t in tensors.items()}
    if expected != found:
        raise ModelError(
            f"{path} does not have the weights of this model: it lacks {_some(expected - found)}, "
            f"and has {_some(found - expected)}"
        )


def _some(parameters: set[tuple[str, tuple[int, ...]]]) -> str:
    shown = [f"{name} {list(shape)}" for name, shape in sorted(parameters)[:3]]
    more = len(parameters) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "") if shown else "nothing else"
