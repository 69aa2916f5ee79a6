"""Shared memory that carries a batch from a DataLoader worker to the training process.

torch sends every tensor in a separate block of shared memory from ``/dev/shm``. Each block costs a
file descriptor and two mappings, however small the tensor is, and the worker must hand over the
descriptor while it makes the next batch. Here small tensors are sent as plain bytes. All others are
sent in one block of memory per batch, which is not limited by ``/dev/shm``.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor, multiprocessing

_SMALL_BYTES = 4096
"""Size of the largest tensor that is sent as bytes and not in shared memory."""
# numpy has no bfloat16, and ``Tensor.numpy`` rejects it.
_NUMPY = (
    torch.bool,
    torch.float16,
    torch.float32,
    torch.float64,
    torch.int64,
    torch.uint8,
)


class SharedMemoryBatch(dict[str, Any]):
    """A dictionary that is sent through shared memory and arrives as a plain ``dict``."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _unpack, _pack(self)

    def __copy__(self) -> "SharedMemoryBatch":
        # The DataLoader copies each batch before it sends it. Without this method, the copy would
        # be made by __reduce__ and would be a plain dictionary.
        return SharedMemoryBatch(self)


@dataclass(frozen=True, slots=True)
class _Part:
    """Reference to a tensor inside one of the sent memory blocks."""

    memory: int
    start: int
    shape: tuple[int, ...]
    dtype: torch.dtype


def _pack(content: Mapping[str, Any]) -> tuple[dict[str, Any], list[Tensor]]:
    """Return the content to pickle and the memory blocks that hold its large tensors."""
    private = [each for each in _tensors_in(content) if not _is_small(each) and not _shared(each)]
    # Move tensors in private memory to shared memory here, all to one block. torch would move each
    # to ``/dev/shm``, where a container has 64 MB.
    moved: dict[int, Tensor] = {}
    if private:
        rooms = shared_empty([(each.shape, each.dtype) for each in private])
        for each, room in zip(private, rooms, strict=True):
            moved[id(each)] = room.copy_(each)
    memories: dict[int, tuple[int, Tensor]] = {}
    packed = _packed(content, moved, memories)
    return packed, [memory for _, memory in memories.values()]


def _tensors_in(content: Mapping[str, Any]) -> Iterator[Tensor]:
    """Yield the tensors that this module can send. torch sends all others."""
    for value in content.values():
        if isinstance(value, dict):
            yield from _tensors_in(value)
        elif _is_plain(value):
            yield value


def _packed(
    content: Mapping[str, Any], moved: Mapping[int, Tensor], memories: dict[int, tuple[int, Tensor]]
) -> dict[str, Any]:
    packed: dict[str, Any] = {}
    for name, value in content.items():
        if isinstance(value, dict):
            packed[name] = _packed(value, moved, memories)
        elif not _is_plain(value):
            packed[name] = value
        elif id(value) in moved:
            packed[name] = _part(moved[id(value)], memories)
        elif not _shared(value):
            packed[name] = value.numpy()
        else:
            packed[name] = _part(value, memories) if value.is_contiguous() else value
    return packed


def _part(tensor: Tensor, memories: dict[int, tuple[int, Tensor]]) -> _Part:
    storage = tensor.untyped_storage()
    # Send each memory block once, as bytes. Tensors that torch sends separately would each cost a
    # descriptor, even if they share their memory.
    block = tensor_in(storage, 0, (storage.nbytes(),), torch.uint8)
    number, _ = memories.setdefault(storage.data_ptr(), (len(memories), block))
    start = int(tensor.storage_offset()) * tensor.itemsize
    return _Part(number, start, tuple(tensor.shape), tensor.dtype)


def _is_plain(value: Any) -> bool:
    """Return True if a value is a dense CPU tensor that does not require a gradient."""
    return (
        type(value) is Tensor
        and value.device.type == "cpu"
        and value.layout is torch.strided
        and not value.requires_grad
    )


def _shared(tensor: Tensor) -> bool:
    known: Any = tensor  # torch leaves this call without types
    return bool(known.is_shared())


def _is_small(tensor: Tensor) -> bool:
    return tensor.nbytes <= _SMALL_BYTES and tensor.dtype in _NUMPY


def _unpack(content: Mapping[str, Any], memories: list[Tensor]) -> dict[str, Any]:
    return {name: _arrived(value, memories) for name, value in content.items()}


def _arrived(value: Any, memories: list[Tensor]) -> Any:
    if isinstance(value, dict):
        return _unpack(value, memories)
    if isinstance(value, _Part):
        storage = memories[value.memory].untyped_storage()
        return tensor_in(storage, value.start, value.shape, value.dtype)
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value


Layout = tuple[Sequence[int], torch.dtype]
"""Shape and data type of a tensor."""

_ALIGNMENT = 64


def shared_empty(layouts: Sequence[Layout]) -> list[Tensor]:
    """Return uninitialised tensors in one block of shared memory, one after the other.

    If torch sends file descriptors (the default on Linux), the memory is an anonymous file. So it
    is not limited by ``/dev/shm``, which has 64 MB in a container by default. Its pages are
    allocated when they are written. torch would allocate all pages first. Meanwhile no other thread
    of the worker could run, including the one that sends the previous batch.
    """
    sizes = [prod(shape) * dtype.itemsize for shape, dtype in layouts]
    starts = [0, *accumulate(-(-size // _ALIGNMENT) * _ALIGNMENT for size in sizes)]
    storage = _shared_storage(max(starts[-1], 1))
    return [
        tensor_in(storage, start, shape, dtype)
        for start, (shape, dtype) in zip(starts, layouts, strict=False)
    ]


def tensor_in(
    storage: torch.UntypedStorage, start: int, shape: Sequence[int], dtype: torch.dtype
) -> Tensor:
    """Return the tensor that starts at byte ``start``. It is not a view of any other tensor."""
    # Views share a version counter. If a training loop changed one noise of a batch in place,
    # autograd would treat all its tensors as changed.
    size = torch.Size(shape)
    strides = [prod(size[axis + 1 :]) for axis in range(len(size))]
    return torch.empty(0, dtype=dtype).set_(storage, start // dtype.itemsize, size, strides)


def _shared_storage(num_bytes: int) -> torch.UntypedStorage:
    storages: Any = torch.UntypedStorage  # torch has no type annotations for these calls
    sharing: Any = multiprocessing
    storage: torch.UntypedStorage
    if sharing.get_sharing_strategy() == "file_descriptor" and hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("npd-batch")
        try:
            os.ftruncate(descriptor, num_bytes)
            storage = storages._new_shared_fd_cpu(descriptor, num_bytes)
        finally:
            os.close(descriptor)  # the storage has duplicated it
    else:
        storage = storages._new_shared(num_bytes)
    return storage
