"""A limit on the weights that a configuration declares, before memory is taken for them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules import module as registration

from pipeline.core.errors import ModelError
from pipeline.core.weight_files import WeightSizes

Module = TypeVar("Module", bound=nn.Module)

_FREE_ELEMENTS = 2**24
"""Number of values beyond those in the files: position tables and other buffers."""

_FREE_PARTS = 10_000
"""Number of layers, weights and buffers beyond those in the files."""


def skeleton(build: Callable[[], Module], held: WeightSizes, config: Path) -> Module:
    """Build a network without memory for its weights.

    Raises ``ModelError`` as soon as it has more than twice the values or ten times the layers that
    the weight files hold. The error names ``config``, which declares them.
    """
    # With shared weights, a network has more of them than its files.
    elements = 2 * held.elements + _FREE_ELEMENTS
    parts = 10 * held.tensors + _FREE_PARTS
    with torch.device("meta"), _limited(elements, parts, config):
        return build()


@contextmanager
def _limited(elements: int, parts: int, config: Path) -> Iterator[None]:
    left = [elements, parts]

    def spend(each: Tensor | nn.Module | None) -> None:
        left[0] -= each.numel() if isinstance(each, Tensor) else 0
        left[1] -= 1
        if min(left) < 0:
            what = f"{elements:,} values" if left[0] < 0 else f"{parts:,} layers and weights"
            raise ModelError(
                f"{config}: declares a network of more than {what}, which is more than its weight "
                "files hold; fetch both again"
            )

    def of_tensor(_: nn.Module, __: str, tensor: Tensor | None) -> None:
        spend(tensor)

    def of_module(_: nn.Module, __: str, inner: nn.Module | None) -> None:
        spend(inner)

    hooks = [
        registration.register_module_parameter_registration_hook(of_tensor),
        registration.register_module_buffer_registration_hook(of_tensor),
        registration.register_module_module_registration_hook(of_module),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
