"""Progress of an epoch, independent of the number of ranks and workers."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from pipeline.reader.order import Indices

Stretch = tuple[int, int]
"""Half-open range of places, [start, stop)."""


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
        done = np.zeros(len(left), bool)
        for start, stop in self.ahead:
            done[start - self.position : stop - self.position] = True
        return left[~done]

    def num_remaining(self, total: int) -> int:
        """Return the number of remaining places of ``total``."""
        return total - self.position - sum(stop - start for start, stop in self.ahead)

    def after(self, total: int, dealt: Iterable[Stretch]) -> "Progress":
        """Return the progress after more stretches are done.

        The stretches in ``dealt`` count positions among the remaining places, not in the epoch.
        """
        stretches = list(dealt)
        if not self.ahead and all(start == 0 for start, _ in stretches):
            done_first = max((stop for _, stop in stretches), default=0)
            return Progress(position=self.position + done_first)
        remaining = self.remaining(total)
        done = np.zeros(len(remaining), bool)
        for start, stop in stretches:
            done[start:stop] = True
        left = remaining[~done]
        if not len(left):
            return Progress(position=total)
        gaps = np.flatnonzero(np.diff(left) > 1)
        ahead = [(int(left[i]) + 1, int(left[i + 1])) for i in gaps]
        if left[-1] + 1 < total:
            ahead.append((int(left[-1]) + 1, total))
        return Progress(position=int(left[0]), ahead=tuple(ahead))
