"""How an epoch is dealt out to ranks and to the DataLoader workers of each.

The places of an epoch are dealt in steps: in each, every rank gets one batch, in the order of the
ranks. Worker w of W makes the batches w, w + W, … of its rank, which is the order in which a
DataLoader asks its workers; so what a rank sees does not depend on how many workers it has. Single
samples are batches of one.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.reader.order import Indices

Remainder = Literal["drop", "repeat", "keep"]

REMAINDERS: tuple[Remainder, ...] = ("drop", "repeat", "keep")


@dataclass(frozen=True, kw_only=True)
class Partition:
    """The rule by which places are dealt."""

    world_size: int = 1
    batch_size: int = 1
    remainder: Remainder = "drop"
    """What becomes of places that do not go round: dropped; filled up with places from the start,
    so that all ranks get one more; or given to the first ranks alone."""
    drop_last: bool = False
    """Leave out the last batches, if they are smaller."""

    def usable(self, total: int) -> int:
        """Places that are dealt of ``total``, those filled up included."""
        match self.remainder:
            case "drop":
                dealt = total - total % self.world_size
            case "repeat":
                dealt = total + -total % self.world_size
            case "keep":
                dealt = total
        return dealt - dealt % self.step if self.drop_last else dealt

    @property
    def step(self) -> int:
        """Places of a full step."""
        return self.world_size * self.batch_size

    def num_steps(self, total: int) -> int:
        """Steps of an epoch; with ``keep``, the last may leave some ranks without a batch."""
        return -(-self.usable(total) // self.step)

    def places(self, total: int, rank: int) -> Indices:
        """The places of a rank in order; those from ``total`` on are filled up from the start."""
        usable = self.usable(total)
        full = usable // self.step
        steps = np.arange(full * self.step).reshape(full, self.world_size, self.batch_size)
        last = np.array_split(np.arange(full * self.step, usable), self.world_size)
        return np.concatenate([steps[:, rank].reshape(-1), last[rank]])

    def num_places(self, total: int, rank: int) -> int:
        """How many places a rank gets."""
        usable = self.usable(total)
        full, left = divmod(usable, self.step)
        return full * self.batch_size + left // self.world_size + (rank < left % self.world_size)

    def num_batches(self, total: int, rank: int) -> int:
        """How many batches a rank gets."""
        return -(-self.num_places(total, rank) // self.batch_size)

    def dealt(self, total: int, taken: list[int]) -> list[tuple[int, int]]:
        """Places [start, stop) that all ranks have had once each worker has made so many batches.

        All ranks have come equally far. When nothing is left to deal, all places count as dealt.
        """
        num_steps = self.num_steps(total)
        if sum(taken) >= num_steps:
            return [(0, total)]
        end = min(self.usable(total), total)
        if len(taken) == 1:
            return [(0, min(taken[0] * self.step, end))]
        turn, worker = np.divmod(np.arange(num_steps), len(taken))
        done = np.flatnonzero(turn < np.array(taken)[worker]) * self.step
        return [(start, min(start + self.step, end)) for start in done.tolist() if start < end]
