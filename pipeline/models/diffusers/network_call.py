"""A recorded call of a network by its pipeline, and operations on its nested arguments.

Keyword arguments may contain dictionaries (SDXL's ``added_cond_kwargs``) or tuples (rotary tables).
The *path* of a value is the keys that lead to it, joined by dots.
"""

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class NetworkCall:
    """Arguments that a pipeline passed to its network."""

    latents: Tensor
    timestep: Tensor
    arguments: dict[str, Any]
    """All other keyword arguments."""

    @classmethod
    def of(
        cls, network: nn.Module, args: tuple[Any, ...], options: dict[str, Any]
    ) -> "NetworkCall":
        """Return the call ``network(*args, **options)``, with positional arguments by name."""
        signature = inspect.signature(type(network).forward)
        named = signature.bind(network, *args, **options).arguments
        # The first argument after self is the latents, under different names in different networks.
        _, (_, latents), *others = named.items()
        arguments = dict(others)
        return cls(latents=latents, timestep=arguments.pop("timestep"), arguments=arguments)


def tensors(arguments: Any, path: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield path and tensor for all tensors in nested arguments."""
    if isinstance(arguments, Tensor):
        yield path, arguments
    for key, value in _items(arguments):
        yield from tensors(value, f"{path}.{key}" if path else key)


def replaced(arguments: Any, values: Mapping[str, Tensor], path: str = "") -> Any:
    """Return nested arguments in which the tensors at the paths of ``values`` are replaced."""
    if isinstance(arguments, dict):
        return {
            key: replaced(value, values, f"{path}.{key}" if path else key)
            for key, value in arguments.items()
        }
    if isinstance(arguments, tuple | list):
        return type(arguments)(
            replaced(value, values, f"{path}.{index}") for index, value in enumerate(arguments)
        )
    return values.get(path, arguments)


def batched_paths(one: Any, two: Any) -> frozenset[str]:
    """Return the paths of tensors that have a row for each prompt.

    ``one`` and ``two`` are the arguments for one prompt and for two. Rotary tables and position
    ids have the same shape in both, so they are not included.
    """
    doubled = dict(tensors(two))
    return frozenset(path for path, tensor in tensors(one) if tensor.shape != doubled[path].shape)


def _items(arguments: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(arguments, dict):
        yield from arguments.items()
    if isinstance(arguments, tuple | list):
        yield from ((str(index), value) for index, value in enumerate(arguments))
