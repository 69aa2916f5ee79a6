"""Memory for a batch, that a DataLoader worker fills and the process that trains maps."""

import os
from math import prod
from typing import Any

import torch
from torch import Tensor, multiprocessing


def shared_empty(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """A tensor in shared memory, whose values are not to be relied on.

    Where torch sends file descriptors (its default on Linux) the memory is a file without a name.
    So it is not bounded by ``/dev/shm``, of which a container has 64 MB unless it is told
    otherwise; and its pages come as they are written. torch's own are all reserved first, and
    meanwhile no other thread of the worker runs: not the one that sends the batch before, either.
    """
    num_bytes = prod(shape) * dtype.itemsize
    storages: Any = torch.UntypedStorage  # torch leaves these calls without types
    sharing: Any = multiprocessing
    if sharing.get_sharing_strategy() == "file_descriptor" and hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("npd-batch")
        try:
            os.ftruncate(descriptor, num_bytes)
            storage = storages._new_shared_fd_cpu(descriptor, num_bytes)
        finally:
            os.close(descriptor)
    else:
        storage = storages._new_shared(num_bytes)
    return torch.empty(0, dtype=dtype).set_(storage).view(shape)
