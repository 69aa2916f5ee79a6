"""Numbers that a data set and its DataLoader workers share: epoch, resuming, checked pieces.

A process shares this memory with the DataLoader workers that it starts, and with no other process.
Each copy of a data set therefore has memory of its own, ready before it starts any worker. A copy
that another process made, by ``fork`` or with the arguments of a new process, also knows the memory
of that process, and uses it only in one of its DataLoader workers.
"""

import os
import weakref
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from pipeline.reader.batch_memory import shared_empty
from pipeline.reader.processes import is_starting_a_process, loader_process

_EPOCH, _WORKERS, _LOADED, _RESUMED, _FROM_LOADED = range(5)
_NUM_NUMBERS = 5
_MAX_WORKERS = 1024
_POSITION_BYTES = 8 * _NUM_NUMBERS + _MAX_WORKERS


class _Memory:
    """One stretch of shared memory, and what lies in it."""

    def __init__(self, content: Tensor, num_shards: int) -> None:
        num_known = _POSITION_BYTES + num_shards
        self.content = content
        self.numbers = content[: 8 * _NUM_NUMBERS].view(torch.int64)
        self.has_resumed = content[8 * _NUM_NUMBERS : _POSITION_BYTES]
        self.is_damaged = content[_POSITION_BYTES:num_known]
        self.is_whole = content[num_known:]

    @property
    def position(self) -> bytes:
        """The numbers, and which workers have resumed."""
        return self.content[:_POSITION_BYTES].numpy().tobytes()

    @position.setter
    def position(self, position: bytes) -> None:
        self.content[:_POSITION_BYTES] = torch.frombuffer(bytearray(position), dtype=torch.uint8)


class SharedState:
    """The epoch, which iterations of workers there were, and what is known of each shard."""

    def __init__(self, pieces: Sequence[int]) -> None:
        """``pieces`` are the numbers of pieces of all shards."""
        self._first_piece = [0, *accumulate(pieces)]
        self._own = self._zeros()
        self._starter: tuple[int, _Memory] | None = None
        _all.add(self)

    @property
    def epoch(self) -> int:
        """The epoch that ``set_epoch`` asked for, also in workers that live on."""
        return self._number(_EPOCH)

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self._memory.numbers[_EPOCH] = epoch

    @property
    def read_by_workers(self) -> bool:
        """Whether workers began the last iteration."""
        return bool(self._number(_WORKERS))

    @property
    def began_where_loaded(self) -> bool:
        """Whether the iteration that workers began last started from the loaded state."""
        return bool(self._number(_FROM_LOADED))

    @property
    def loaded(self) -> int:
        """Number of the state that was loaded last, which workers may not have; 0 for none."""
        return self._number(_LOADED)

    @property
    def is_used(self) -> bool:
        """Whether workers used the state that was loaded last."""
        return bool(self._number(_RESUMED))

    def load(self, number: int) -> None:
        """Note that a state was loaded, or with 0 that none is to be used any more."""
        memory = self._memory
        memory.has_resumed.zero_()
        memory.numbers[_RESUMED] = 0
        memory.numbers[_LOADED] = number

    def resume(self, iteration: int, worker: int) -> bool:
        """Return True if a worker may use the loaded state: all of one iteration, each once."""
        memory = self._memory
        if int(memory.numbers[_RESUMED]) not in (0, iteration) or memory.has_resumed[worker]:
            return False
        memory.numbers[_RESUMED] = iteration
        memory.has_resumed[worker] = 1
        return True

    def begin(self, *, by_workers: bool, where_loaded: bool = False) -> None:
        """Note that an iteration begins, or is about to."""
        numbers = self._memory.numbers
        numbers[_WORKERS] = by_workers
        numbers[_FROM_LOADED] = where_loaded

    def whole_pieces(self, shard: int) -> memoryview:
        """A byte for each piece of a shard: 1 once some process found it to be as promised."""
        pieces = self._memory.is_whole[self._first_piece[shard] : self._first_piece[shard + 1]]
        return pieces.numpy().data

    def is_damaged(self, shard: int) -> bool:
        """Whether some process could not read the shard."""
        return bool(self._memory.is_damaged[shard])

    def mark_damaged(self, shard: int) -> None:
        """Note that the shard cannot be read."""
        self._memory.is_damaged[shard] = 1

    def damaged(self) -> list[int]:
        """Shards that could not be read."""
        marked: list[int] = torch.nonzero(self._memory.is_damaged).flatten().tolist()
        return marked

    @property
    def _memory(self) -> _Memory:
        if self._starter is not None and self._starter[0] == loader_process():
            return self._starter[1]
        return self._own

    def _number(self, index: int) -> int:
        return int(self._memory.numbers[index])

    def _zeros(self) -> _Memory:
        num_shards = len(self._first_piece) - 1
        size = _POSITION_BYTES + num_shards + self._first_piece[-1]
        (content,) = shared_empty([((size,), torch.uint8)])
        return _Memory(content.zero_(), num_shards)

    def _copied(self, position: bytes) -> _Memory:
        """New memory. What is known of shards stays behind: the copy may read other files."""
        memory = self._zeros()
        memory.position = position
        return memory

    def after_fork(self) -> None:
        """Take new memory in a forked process; its parent's serves if it is a loader's worker."""
        before = self._memory
        self._starter = (os.getppid(), before)
        self._own = self._copied(before.position)

    def __getstate__(self) -> dict[str, Any]:
        memory = self._memory
        return {
            "first_piece": self._first_piece,
            "position": memory.position,
            "starter": (os.getpid(), memory.content) if is_starting_a_process() else None,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._first_piece = state["first_piece"]
        self._own = self._copied(state["position"])
        starter = state["starter"]
        num_shards = len(self._first_piece) - 1
        self._starter = None if starter is None else (starter[0], _Memory(starter[1], num_shards))
        _all.add(self)


_all: weakref.WeakSet[SharedState] = weakref.WeakSet()


def _after_fork() -> None:
    for shared in list(_all):
        shared.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
