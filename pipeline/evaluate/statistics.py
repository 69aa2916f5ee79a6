"""Confidence intervals of proportions and means."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]

_Z = 1.959963984540054
"""97.5% quantile of the standard normal: all intervals are 95%."""
_RESAMPLES = 2_000
_DRAWN_AT_ONCE = 2**20
"""Number of positions drawn in one block. All resamples at once would take gigabytes for 100,000
prompts."""


@dataclass(frozen=True)
class Estimate:
    """Value with its 95% interval."""

    value: float
    low: float
    high: float


def win_rate(wins: int, total: int) -> Estimate:
    """Return a proportion with its Wilson score interval, which also holds near 0 and 1."""
    share = wins / total
    denominator = 1 + _Z**2 / total
    centre = (share + _Z**2 / (2 * total)) / denominator
    half = _Z * sqrt(share * (1 - share) / total + _Z**2 / (4 * total**2)) / denominator
    return Estimate(share, centre - half, centre + half)


def mean(values: Values, groups: npt.NDArray[np.str_]) -> Estimate:
    """Return the mean of ``values`` (n,) with a cluster bootstrap interval.

    ``groups`` (n,) has the group of each value, such as its prompt. Values of one prompt are not
    independent, so groups are resampled, not values.
    """
    _, group = np.unique(groups, return_inverse=True)
    # A resample's mean needs only the sum and the count of each drawn group.
    sums = np.bincount(group, weights=values)
    counts = np.bincount(group)
    means = np.concatenate(
        [sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1) for drawn in resamples(len(sums))]
    )
    low, high = np.quantile(means, [0.025, 0.975])
    return Estimate(float(values.mean()), float(low), float(high))


def resamples(size: int) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the bootstrap's draws in blocks (n, size) of positions below ``size``."""
    # The fixed seed makes a report reproducible.
    random = np.random.default_rng(0)
    block = max(1, _DRAWN_AT_ONCE // size)
    for start in range(0, _RESAMPLES, block):
        yield random.integers(size, size=(min(block, _RESAMPLES - start), size))
