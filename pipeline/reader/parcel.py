"""A batch on its way from a DataLoader worker to the process that trains.

Every tensor that crosses costs a file descriptor and two mappings, however small. So the noises
cross as tensors, which lie in shared memory already, and all small numbers as plain bytes.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

_SMALL_BYTES = 4096


class Parcel(dict[str, Any]):
    """A dictionary that arrives as a plain one."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _unpack, ({name: _pack(value) for name, value in self.items()},)


def _pack(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _pack(each) for name, each in value.items()}
    if isinstance(value, Tensor) and value.nbytes <= _SMALL_BYTES and value.dtype in _NUMPY:
        return value.numpy()
    return value


def _unpack(content: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _unpack(value)
        if isinstance(value, dict)
        else torch.from_numpy(value)
        if isinstance(value, np.ndarray)
        else value
        for name, value in content.items()
    }


_NUMPY = (torch.float32, torch.float64, torch.int64)
