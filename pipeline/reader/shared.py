"""What a data set tells its DataLoader workers, and they tell it: a few numbers in shared memory.

They travel with the data set when workers are forked or spawned, and stay the same memory.
"""

from typing import Any

import torch

_WHOLE, _DAMAGED = 1, 2


class Shared:
    """The epoch, which iterations of workers there were, and what is known of each shard."""

    def __init__(self, num_shards: int) -> None:
        self._numbers = _shared_zeros(3, torch.int64)
        self._shards = _shared_zeros(num_shards, torch.uint8)

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

    def is_whole(self, shard: int) -> bool:
        """Whether some process has checked the shard's digest."""
        return bool(self._shards[shard] == _WHOLE)

    def is_damaged(self, shard: int) -> bool:
        """Whether some process could not read the shard."""
        return bool(self._shards[shard] == _DAMAGED)

    def mark_whole(self, shard: int) -> None:
        """Note that the shard's digest is right."""
        self._shards[shard] = _WHOLE

    def mark_damaged(self, shard: int) -> None:
        """Note that the shard cannot be read."""
        self._shards[shard] = _DAMAGED

    def damaged(self) -> list[int]:
        """Shards that could not be read."""
        marked: list[int] = torch.nonzero(self._shards == _DAMAGED).flatten().tolist()
        return marked


def _shared_zeros(count: int, dtype: torch.dtype) -> torch.Tensor:
    zeros: Any = torch.zeros(count, dtype=dtype)  # torch leaves what follows without types
    shared: torch.Tensor = zeros.share_memory_()
    return shared
