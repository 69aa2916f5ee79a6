"""Intervals for what a report claims."""

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
"""All resamples at once would take gigabytes for 100,000 prompts."""


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95% interval."""

    value: float
    low: float
    high: float


def win_rate(wins: int, total: int) -> Estimate:
    """A proportion with its Wilson interval, which holds also near 0 and 1."""
    share = wins / total
    denominator = 1 + _Z**2 / total
    centre = (share + _Z**2 / (2 * total)) / denominator
    half = _Z * sqrt(share * (1 - share) / total + _Z**2 / (4 * total**2)) / denominator
    return Estimate(share, centre - half, centre + half)


def mean(values: Values, groups: npt.NDArray[np.str_]) -> Estimate:
    """A mean with its bootstrap interval, resampling whole groups.

    Values of one prompt are not independent, so prompts are drawn, not values. The draws are
    seeded: a report made twice says the same.
    """
    _, group = np.unique(groups, return_inverse=True)
    sums = np.bincount(group, weights=values)
    counts = np.bincount(group)
    means = np.concatenate(
        [sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1) for drawn in resamples(len(sums))]
    )
    low, high = np.quantile(means, [0.025, 0.975])
    return Estimate(float(values.mean()), float(low), float(high))


def resamples(size: int) -> Iterator[npt.NDArray[np.int64]]:
    """The bootstrap's draws: blocks (n, size) of positions below ``size``, always the same ones."""
    random = np.random.default_rng(0)
    block = max(1, _DRAWN_AT_ONCE // size)
    for start in range(0, _RESAMPLES, block):
        yield random.integers(size, size=(min(block, _RESAMPLES - start), size))
