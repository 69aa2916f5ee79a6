"""Order of an epoch: a pure function of the data, the seed and the epoch.

Rows are shuffled in a window that slides over shuffled shards. The shards are laid end to end on a
line of bytes. Each row is placed at its shard's start plus a random distance of at most the window.
The rows are then sorted by their place. At any time the rows come from the shards of one window,
which bounds the shards that must be open. New shards are needed one at a time, and the first rows
need one shard only. This also holds if the window covers all shards, because no row is placed
before the start of its shard.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Pool:
    """The rows of one source, shard after shard."""

    counts: Indices
    """Number of rows in each shard."""
    num_bytes: Indices
    """Size of each shard in bytes."""
    weight: float
    """Average number of draws of each row per epoch."""

    @property
    def num_rows(self) -> int:
        """Number of rows in all shards."""
        return int(self.counts.sum())

    @property
    def num_drawn(self) -> int:
        """Number of rows that an epoch draws."""
        return round(self.weight * self.num_rows)


def epoch_order(
    pools: Sequence[Pool], seed: int | None, epoch: int, window_bytes: int
) -> tuple[Indices, Indices]:
    """Return the pool and the row within the pool for each place of an epoch.

    A pool of n rows and weight w yields round(w·n) rows: complete passes, each in a different
    order, then the first rows of another pass. Pools are interleaved evenly. Without a seed, rows
    keep their order. The window is divided among the pools in proportion to their drawn rows.
    """
    total = sum(pool.num_drawn for pool in pools)
    # All pools are read at the same time, each in a window of its share of the bytes. The windows
    # together are as large as the window of a single pool.
    drawn = [
        _drawn(pool, seed, epoch, number, window_bytes * pool.num_drawn // max(total, 1))
        for number, pool in enumerate(pools)
    ]
    if len(drawn) == 1:
        return np.zeros(total, np.int64), drawn[0]
    owners = np.repeat(np.arange(len(drawn)), [len(rows) for rows in drawn])
    # Row i of n is placed at (i + ½)/n of the epoch, which interleaves pools of any sizes evenly.
    # Pools of equal size tie at every place. A stable sort then takes them in turn, by number.
    places = np.concatenate([(np.arange(len(rows)) + 0.5) / max(len(rows), 1) for rows in drawn])
    merged = np.argsort(places, kind="stable")
    return owners[merged], np.concatenate(drawn)[merged]


def _drawn(pool: Pool, seed: int | None, epoch: int, number: int, window_bytes: int) -> Indices:
    passes: list[Indices] = []
    left = pool.num_drawn
    while left > 0:
        if seed is None:
            rows = np.arange(pool.num_rows)
        else:
            # The pool and the pass are part of the seed, so that no two passes share an order. The
            # rank and the worker are not: all of them compute the same order and take their places
            # from it, without any communication.
            generator = np.random.default_rng([seed, epoch, number, len(passes)])
            rows = sliding_order(pool.counts, pool.num_bytes, window_bytes, generator)
        passes.append(rows[:left])
        left -= len(rows)
    return np.concatenate(passes) if passes else np.zeros(0, np.int64)


def sliding_order(
    counts: Indices, num_bytes: Indices, window_bytes: int, generator: np.random.Generator
) -> Indices:
    """Return a permutation of the rows of some shards, shuffled in a sliding window."""
    # The order of these two draws from the generator is part of the order of an epoch. A stored
    # state is a position in that order, so another way to draw would invalidate all states.
    permuted = generator.permutation(len(counts))
    starts = np.empty(len(counts))
    ends = np.cumsum(num_bytes[permuted])
    starts[permuted] = ends - num_bytes[permuted]
    # A longer window than the line would place most rows far behind its end, and the rows of all
    # shards would be needed for the first batch.
    window = min(window_bytes, int(num_bytes.sum()))
    drawn = np.repeat(starts, counts) + window * generator.random(int(counts.sum()))
    # With a window of 0 bytes, all rows of a shard have the same place. A stable sort keeps their
    # order, so that only the shards are shuffled.
    return np.argsort(drawn, kind="stable")
