"""State that a data set shares with its DataLoader workers: epoch, resuming, checked pieces.

A process shares this memory with the DataLoader workers that it starts, and with no other process.
So each copy of a data set allocates separate memory before it starts any worker. A copy that came
from another process, by ``fork`` or with the arguments of a new process, also keeps a reference to
the memory of that process. It uses that memory only if it is a DataLoader worker of that process.

Nothing here is locked. The flags of pieces and shards only change from 0 to 1, so processes that
miss each other's flags repeat a check at most.
"""

import os
import weakref
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from pipeline.reader.processes import is_starting_a_process, loader_process
from pipeline.reader.shared_memory import shared_empty

_EPOCH, _WORKERS, _LOADED, _RESUMED, _FROM_LOADED = range(5)
_NUM_NUMBERS = 5
_MAX_WORKERS = 1024
_POSITION_BYTES = 8 * _NUM_NUMBERS + _MAX_WORKERS


class _Memory:
    """A block of shared memory with views of its parts."""

    def __init__(self, content: Tensor, num_shards: int) -> None:
        num_known = _POSITION_BYTES + num_shards
        self.content = content
        self.numbers = content[: 8 * _NUM_NUMBERS].view(torch.int64)
        self.has_resumed = content[8 * _NUM_NUMBERS : _POSITION_BYTES]
        self.is_damaged = content[_POSITION_BYTES:num_known]
        self.is_verified = content[num_known:]

    @property
    def position(self) -> bytes:
        """Bytes of the numbers and of the flags of the workers that have resumed."""
        return self.content[:_POSITION_BYTES].numpy().tobytes()

    @position.setter
    def position(self, position: bytes) -> None:
        self.content[:_POSITION_BYTES] = torch.frombuffer(bytearray(position), dtype=torch.uint8)


class SharedState:
    """Epoch, resume state and checked or damaged shards, shared with DataLoader workers."""

    def __init__(self, pieces: Sequence[int]) -> None:
        """Allocate the shared memory. ``pieces`` holds the number of pieces of each shard."""
        self._first_piece = [0, *accumulate(pieces)]
        self._own = self._zeros()
        self._starter: tuple[int, _Memory] | None = None
        _all.add(self)

    @property
    def epoch(self) -> int:
        """Epoch of the last ``set_epoch``, also visible in persistent workers."""
        return self._number(_EPOCH)

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self._memory.numbers[_EPOCH] = epoch

    @property
    def read_by_workers(self) -> bool:
        """True if the last iteration was started by DataLoader workers."""
        return bool(self._number(_WORKERS))

    @property
    def began_where_loaded(self) -> bool:
        """True if the last iteration of the workers started from the loaded state."""
        return bool(self._number(_FROM_LOADED))

    @property
    def loaded(self) -> int:
        """Number of the last loaded state, which workers may not have yet. 0 for none."""
        return self._number(_LOADED)

    @property
    def is_used(self) -> bool:
        """True if workers have used the last loaded state."""
        return bool(self._number(_RESUMED))

    def load(self, number: int) -> None:
        """Record that state ``number`` was loaded. 0 records that no state is loaded."""
        memory = self._memory
        memory.has_resumed.zero_()
        memory.numbers[_RESUMED] = 0
        memory.numbers[_LOADED] = number

    def resume(self, iteration: int, worker: int) -> bool:
        """Return True if a worker may use the loaded state.

        All workers of one iteration may use it, each of them once.
        """
        memory = self._memory
        if int(memory.numbers[_RESUMED]) not in (0, iteration) or memory.has_resumed[worker]:
            return False
        memory.numbers[_RESUMED] = iteration
        memory.has_resumed[worker] = 1
        return True

    def begin(self, *, by_workers: bool, where_loaded: bool = False) -> None:
        """Record that an iteration starts or is about to start."""
        numbers = self._memory.numbers
        numbers[_WORKERS] = by_workers
        numbers[_FROM_LOADED] = where_loaded

    def verified_pieces(self, shard: int) -> memoryview:
        """Return one byte for each piece of a shard: 1 after a process has verified the piece."""
        pieces = self._memory.is_verified[self._first_piece[shard] : self._first_piece[shard + 1]]
        return pieces.numpy().data

    def is_damaged(self, shard: int) -> bool:
        """Return True if a process has marked the shard as damaged."""
        return bool(self._memory.is_damaged[shard])

    def mark_damaged(self, shard: int) -> None:
        """Mark a shard as damaged."""
        self._memory.is_damaged[shard] = 1

    def damaged(self) -> list[int]:
        """Return the numbers of the damaged shards."""
        marked: list[int] = torch.nonzero(self._memory.is_damaged).flatten().tolist()
        return marked

    @property
    def _memory(self) -> _Memory:
        # Decide at each access. When the copy arrives, torch has not yet marked this process as a
        # DataLoader worker.
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
        """Return new memory with this position.

        The results of checks are not copied, because the copy may read other files.
        """
        memory = self._zeros()
        memory.position = position
        return memory

    def after_fork(self) -> None:
        """Allocate new memory in a forked process. A DataLoader worker uses its parent's memory."""
        # The mapping is inherited, so no descriptor has to be sent. Which of the two memories
        # counts is decided later: only the DataLoader marks a forked process as its worker.
        before = self._memory
        self._starter = (os.getppid(), before)
        self._own = self._copied(before.position)

    def __getstate__(self) -> dict[str, Any]:
        memory = self._memory
        # Only the arguments of a new process can carry the memory itself. Other copies (torch.save,
        # copy.deepcopy, Ray) may outlive this process or reach another machine.
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


# A fork copies a data set without calling any of its methods, so a hook of the process does what
# ``__setstate__`` does. Weak references, so that the hook does not keep data sets alive.
_all: weakref.WeakSet[SharedState] = weakref.WeakSet()


def _after_fork() -> None:
    for shared in list(_all):
        shared.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
