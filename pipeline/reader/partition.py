"""Partition of an epoch into the places of each rank and DataLoader worker, and its progress.

An epoch is partitioned in steps. In each step, every rank receives one batch, in the order of the
ranks. Worker w of W makes the batches w, w + W, … of its rank. This is the order in which a
DataLoader asks its workers, so the data of a rank does not depend on its number of workers. Single
samples are batches of one.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.reader.order import Indices

Remainder = Literal["drop", "repeat", "keep"]

Stretch = tuple[int, int]
"""Half-open range of places, [start, stop)."""

REMAINDERS: tuple[Remainder, ...] = ("drop", "repeat", "keep")


@dataclass(frozen=True, kw_only=True)
class Partition:
    """Partition of an epoch's places among ranks, in batches."""

    world_size: int = 1
    batch_size: int = 1
    remainder: Remainder = "drop"
    """Treatment of the places that do not divide evenly among the ranks. ``drop`` discards them,
    ``repeat`` adds places from the start of the epoch so that all ranks get equally many, and
    ``keep`` gives them to the first ranks."""
    drop_last: bool = False
    """True to drop the last batches if they are smaller."""

    def usable(self, total: int) -> int:
        """Return the number of places that all ranks receive, repeated places included."""
        match self.remainder:
            case "drop":
                count = total - total % self.world_size
            case "repeat":
                count = total + -total % self.world_size
            case "keep":
                count = total
        return count - count % self.step if self.drop_last else count

    @property
    def step(self) -> int:
        """Number of places in a full step."""
        return self.world_size * self.batch_size

    def num_steps(self, total: int) -> int:
        """Return the number of steps. With ``keep``, some ranks may have no batch in the last."""
        return -(-self.usable(total) // self.step)

    def places(self, total: int, rank: int) -> Indices:
        """Return the places of a rank in order. Places from ``total`` on repeat the first ones."""
        usable = self.usable(total)
        full = usable // self.step
        # The batches of a step are contiguous in the order, rank after rank. What all ranks have
        # done is then one stretch from the start, which a state stores as a single number.
        steps = np.arange(full * self.step).reshape(full, self.world_size, self.batch_size)
        # The last step is divided evenly. If the first ranks took full batches, the last ranks
        # could have none, and ranks that synchronise gradients would wait for them.
        last = np.array_split(np.arange(full * self.step, usable), self.world_size)
        return np.concatenate([steps[:, rank].reshape(-1), last[rank]])

    def num_places(self, total: int, rank: int) -> int:
        """Return the number of places of a rank."""
        usable = self.usable(total)
        full, left = divmod(usable, self.step)
        return full * self.batch_size + left // self.world_size + (rank < left % self.world_size)

    def num_batches(self, total: int, rank: int) -> int:
        """Return the number of batches of a rank."""
        return -(-self.num_places(total, rank) // self.batch_size)

    def done(self, total: int, taken: list[int]) -> list[Stretch]:
        """Return the stretches of places that are done on all ranks.

        taken: number of batches that each worker has made. It is the same on all ranks.

        When no step is left, all places count as done.
        """
        num_steps = self.num_steps(total)
        if sum(taken) >= num_steps:
            # Places that ``drop`` or ``drop_last`` left out are done too. Otherwise a state at the
            # end of an epoch would resume with them, and the next iteration would be their rest.
            return [(0, total)]
        # With ``repeat``, the last places repeat the first ones, which are done already.
        end = min(self.usable(total), total)
        if len(taken) == 1:
            return [(0, min(taken[0] * self.step, end))]
        # Step s is batch s // W of worker s % W. Workers can be at different turns, so the steps
        # that are done need not be contiguous.
        turn, worker = np.divmod(np.arange(num_steps), len(taken))
        done = np.flatnonzero(turn < np.array(taken)[worker]) * self.step
        return [(start, min(start + self.step, end)) for start in done.tolist() if start < end]


@dataclass(frozen=True, kw_only=True)
class WorkerSlot:
    """A DataLoader worker's part of the places of its rank."""

    deal: Partition
    """Partition among the ranks. States store it under this name."""
    num_workers: int = 1
    worker: int = 0

    def places(self, of_rank: Indices, taken: int) -> Indices:
        """Return this worker's places of a rank, without the first ``taken`` batches.

        Worker w of W makes the batches w, w + W, …, which is the order in which a DataLoader asks
        its workers.
        """
        turn, worker = np.divmod(np.arange(len(of_rank)) // self.deal.batch_size, self.num_workers)
        places: Indices = of_rank[(worker == self.worker) & (turn >= taken)]
        return places


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Places of an epoch that are done: all before ``position`` and some stretches after it.

    Stretches arise when DataLoader workers collate single samples into batches. The samples of two
    workers alternate, so the first worker's batch can be done while the second worker's is not.
    """

    position: int = 0
    ahead: tuple[Stretch, ...] = ()

    def remaining(self, total: int) -> Indices:
        """Return the remaining places of ``total``, in order."""
        left = np.arange(self.position, total)
        if not self.ahead:
            return left
        is_done = np.zeros(len(left), bool)
        for start, stop in self.ahead:
            is_done[start - self.position : stop - self.position] = True
        return left[~is_done]

    def num_remaining(self, total: int) -> int:
        """Return the number of remaining places of ``total``."""
        return total - self.position - sum(stop - start for start, stop in self.ahead)

    def after(self, total: int, done: Iterable[Stretch]) -> "Progress":
        """Return the progress after more stretches are done.

        The stretches in ``done`` count positions among the remaining places, not in the epoch.
        """
        stretches = list(done)
        if not self.ahead and all(start == 0 for start, _ in stretches):
            # The usual case: all batches in order. It needs no array of the epoch's size, so that a
            # state can be taken after each batch.
            done_first = max((stop for _, stop in stretches), default=0)
            return Progress(position=self.position + done_first)
        remaining = self.remaining(total)
        is_done = np.zeros(len(remaining), bool)
        for start, stop in stretches:
            is_done[start:stop] = True
        left = remaining[~is_done]
        if not len(left):
            return Progress(position=total)
        # Each gap between the places that are left is a stretch that was done ahead. Earlier
        # stretches are contained, because ``remaining`` leaves them out.
        gaps = np.flatnonzero(np.diff(left) > 1)
        ahead = [(int(left[i]) + 1, int(left[i + 1])) for i in gaps]
        if left[-1] + 1 < total:
            ahead.append((int(left[-1]) + 1, total))
        return Progress(position=int(left[0]), ahead=tuple(ahead))
