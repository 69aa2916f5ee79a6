"""What a data set tells its DataLoader workers, and they tell it: a few numbers in shared memory.

They travel with the data set when workers are forked or spawned, and stay the same memory.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch


class Shared:
    """The epoch, which iterations of workers there were, and what is known of each shard."""

    def __init__(self, pieces: Sequence[int]) -> None:
        """``pieces`` are the numbers of pieces of all shards."""
        self._numbers = _shared_zeros(3, torch.int64)
        self._is_damaged = _shared_zeros(len(pieces), torch.uint8)
        self._first_piece = [0, *accumulate(pieces)]
        self._is_whole = _shared_zeros(self._first_piece[-1], torch.uint8)

    @property
    def epoch(self) -> int:
        """The epoch that ``set_epoch`` asked for, also in workers that live on."""
        return int(self._numbers[0])

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self._numbers[0] = epoch

    @property
    def workers(self) -> int:
        """The iteration of workers that began last; 0 if none did since it was set so."""
        return int(self._numbers[1])

    @workers.setter
    def workers(self, iteration: int) -> None:
        self._numbers[1] = iteration

    @property
    def resumed(self) -> int:
        """The iteration of workers that used the state loaded last; 0 if none did."""
        return int(self._numbers[2])

    @resumed.setter
    def resumed(self, iteration: int) -> None:
        self._numbers[2] = iteration

    def whole_pieces(self, shard: int) -> memoryview:
        """A byte for each piece of a shard: 1 once some process found it to be as promised."""
        pieces = self._is_whole[self._first_piece[shard] : self._first_piece[shard + 1]]
        return pieces.numpy().data

    def is_damaged(self, shard: int) -> bool:
        """Whether some process could not read the shard."""
        return bool(self._is_damaged[shard])

    def mark_damaged(self, shard: int) -> None:
        """Note that the shard cannot be read."""
        self._is_damaged[shard] = 1

    def damaged(self) -> list[int]:
        """Shards that could not be read."""
        marked: list[int] = torch.nonzero(self._is_damaged).flatten().tolist()
        return marked


def _shared_zeros(count: int, dtype: torch.dtype) -> torch.Tensor:
    zeros: Any = torch.zeros(count, dtype=dtype)  # torch leaves what follows without types
    shared: torch.Tensor = zeros.share_memory_()
    return shared
