"""Shared memory for a batch, filled by a DataLoader worker and mapped by the training process."""

import os
from collections.abc import Sequence
from itertools import accumulate
from math import prod
from typing import Any

import torch
from torch import Tensor, multiprocessing

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
            os.close(descriptor)
    else:
        storage = storages._new_shared(num_bytes)
    return storage
