"""Rank and world size of a data-parallel process, and detection of its parent process.

A copy of a data set that a DataLoader worker receives belongs to the process that started the
worker. It follows that process's rank and epoch. Every other copy is independent. This includes a
copy that is passed to a process of a training run (``torch.multiprocessing.spawn``, Ray), which
joins its process group later. The sender cannot distinguish the two cases, because it pickles its
arguments in the same way. The receiver can.
"""

import multiprocessing
import os
from multiprocessing.context import get_spawning_popen
from typing import Any

import torch.distributed as dist
from torch.utils.data import get_worker_info

from pipeline.core.errors import UserError


class Ranks:
    """Rank and world size of this process, looked up again on each request.

    So a process may join its process group after it made or received the data set. A spawned
    DataLoader worker has no process group and uses the values of the process that started it.

    Raises ``UserError`` if only one of the two is given or if the rank is out of range.
    """

    def __init__(self, rank: int | None, world_size: int | None) -> None:
        self._rank = rank
        self._world_size = world_size
        self._starter: tuple[int, tuple[int, int]] | None = None
        rank_and_world_size(rank, world_size)  # reports wrong arguments now and not when reading

    def here(self) -> tuple[int, int]:
        """Return rank and world size. Raises ``UserError``."""
        if self._starter is not None and self._starter[0] == loader_process():
            return self._starter[1]
        return rank_and_world_size(self._rank, self._world_size)

    def __getstate__(self) -> dict[str, Any]:
        # A forked worker needs nothing here: it inherits the environment and the process group. A
        # spawned one inherits only the environment, whose RANK may differ from the process group.
        starter = (os.getpid(), self.here()) if is_starting_a_process() else None
        return {**self.__dict__, "_starter": starter}


def rank_and_world_size(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """Return the given rank and world size, or look them up.

    The order of the lookup is ``torch.distributed``, then the environment variables RANK and
    WORLD_SIZE, then rank 0 of 1. Raises ``UserError`` if only one of the two is given or if the
    rank is out of range.
    """
    if (rank is None) != (world_size is None):
        raise UserError("rank and world_size go together: give both or none")
    if rank is None or world_size is None:
        rank, world_size = _found()
    if not 0 <= rank < world_size:
        raise UserError(f"rank {rank} is not in the range 0 to {world_size - 1}")
    return rank, world_size


def _found() -> tuple[int, int]:
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
        try:
            return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        except ValueError:
            raise UserError(
                f"the environment has RANK={os.environ['RANK']!r}, "
                f"WORLD_SIZE={os.environ['WORLD_SIZE']!r}: not numbers"
            ) from None
    return 0, 1


def is_starting_a_process() -> bool:
    """Return True while the arguments of a process that is being started are pickled."""
    return get_spawning_popen() is not None


def loader_process() -> int | None:
    """Return the id of the process that started this DataLoader worker; None elsewhere."""
    # multiprocessing records the parent at the start, for all start methods. ``os.getppid`` would
    # return the fork server's id for a worker that it forked.
    parent = multiprocessing.parent_process()
    return None if parent is None or get_worker_info() is None else parent.pid
