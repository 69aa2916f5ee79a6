"""A batch on its way from a DataLoader worker to the process that trains.

Every storage that crosses costs a file descriptor, for which the worker is asked while it makes the
next batch, and two mappings, however small. So tensors in shared memory cross as the one storage
that they have in common, and all small numbers as plain bytes.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

_SMALL_BYTES = 4096


class Parcel(dict[str, Any]):
    """A dictionary that arrives as a plain one."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _unpack, _pack(self)

    def __copy__(self) -> "Parcel":
        # The DataLoader copies what it sends; by __reduce__ the copy would be a plain dictionary.
        return Parcel(self)


class _Part:
    """A tensor that lies somewhere in the storage that crosses."""

    __slots__ = ("shape", "start")

    def __init__(self, tensor: Tensor) -> None:
        self.start = tensor.storage_offset()
        self.shape = tensor.shape

    def within(self, whole: Tensor) -> Tensor:
        return whole[self.start : self.start + self.shape.numel()].view(self.shape)


def _pack(content: Mapping[str, Any]) -> tuple[dict[str, Any], Tensor | None]:
    """What crosses as bytes, and the storage in which the rest lies."""
    shared = [value for value in content.values() if isinstance(value, Tensor) and _lies(value)]
    if len({(each.untyped_storage().data_ptr(), each.dtype) for each in shared}) != 1:
        return _plain(content), None
    whole = shared[0].as_strided(
        (shared[0].untyped_storage().nbytes() // shared[0].itemsize,), (1,), 0
    )
    parts = {
        name: _Part(value) if isinstance(value, Tensor) and _lies(value) else value
        for name, value in content.items()
    }
    return _plain(parts), whole


def _lies(tensor: Tensor) -> bool:
    """Whether it is a whole stretch of shared memory."""
    known: Any = tensor  # torch leaves this call without types
    return bool(known.is_shared()) and tensor.is_contiguous()


def _plain(content: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _as_bytes(value) for name, value in content.items()}


def _as_bytes(value: Any) -> Any:
    if isinstance(value, dict):
        return _plain(value)
    if isinstance(value, Tensor) and value.nbytes <= _SMALL_BYTES and value.dtype in _NUMPY:
        return value.numpy()
    return value


def _unpack(content: Mapping[str, Any], whole: Tensor | None) -> dict[str, Any]:
    return {name: _as_tensor(value, whole) for name, value in content.items()}


def _as_tensor(value: Any, whole: Tensor | None) -> Any:
    if isinstance(value, dict):
        return _unpack(value, whole)
    if isinstance(value, _Part):
        assert whole is not None, "parts come with what they are parts of"
        return value.within(whole)
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value


_NUMPY = (torch.float32, torch.float64, torch.int64)
