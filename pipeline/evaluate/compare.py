"""Paired comparison of two arms: gain, share won, sign test and ratio of gains.

An arm is a way to get an image for a prompt and a seed. All intervals are 95%. Reports, trials and
the demo's comparison of settings use these functions.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
Names = npt.NDArray[np.str_]
Mask = npt.NDArray[np.bool_]

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

    @property
    def excludes_zero(self) -> bool:
        """True if zero is outside the interval."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, kw_only=True)
class Gain:
    """Gain of one arm over another, pair by pair, under one reward."""

    num_pairs: int
    standard: float
    """Mean score of the arm that is compared against."""
    other: float
    """Mean score of the arm whose gain this is."""
    wins: Estimate
    """Share of pairs in which the other image scores higher. Half of the ties count as wins,
    rounded down."""
    gain: Estimate
    """Mean difference, other minus standard."""


def compare(
    before: Values, after: Values, prompt_ids: Names, mask: Mask | None = None
) -> Gain | None:
    """Return the gain of the scores ``after`` over the scores ``before``, row by row.

    All arrays are (n,). Only rows where ``mask`` is True count; without a mask, all count. The
    interval of the gain is over prompts. Returns None if no row counts.
    """
    if mask is not None:
        before, after, prompt_ids = before[mask], after[mask], prompt_ids[mask]
    if not len(before):
        return None
    ties = int((after == before).sum())
    return Gain(
        num_pairs=len(before),
        standard=float(before.mean()),
        other=float(after.mean()),
        # The interval of a share counts pairs, so an odd tie is dropped.
        wins=win_rate(int((after > before).sum()) + ties // 2, len(before)),
        gain=mean(after - before, prompt_ids),
    )


def win_rate(wins: float, total: float) -> Estimate:
    """Return a proportion with its Wilson score interval, which also holds near 0 and 1."""
    share = wins / total
    denominator = 1 + _Z**2 / total
    centre = (share + _Z**2 / (2 * total)) / denominator
    half = _Z * sqrt(share * (1 - share) / total + _Z**2 / (4 * total**2)) / denominator
    return Estimate(share, centre - half, centre + half)


def mean(values: Values, groups: Names) -> Estimate:
    """Return the mean of ``values`` (n,) with a cluster bootstrap interval.

    ``groups`` (n,) has the group of each value, such as its prompt. Values of one prompt are not
    independent, so groups are resampled, not values.
    """
    _, group = np.unique(groups, return_inverse=True)
    # A resample's mean needs only the sum and the count of each drawn group.
    sums = np.bincount(group, weights=values)
    counts = np.bincount(group)
    means = np.concatenate(
        [sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1) for drawn in _resamples(len(sums))]
    )
    low, high = np.quantile(means, [0.025, 0.975])
    return Estimate(float(values.mean()), float(low), float(high))


def ratio(numerators: Values, denominators: Values) -> Estimate | None:
    """Return Σ numerators / Σ denominators with a bootstrap interval over prompts.

    Both arrays have one entry for each prompt. Returns None if the interval of the denominator
    includes zero, because the ratio would be meaningless.
    """
    # Both sums use the same resamples, so variation that they share cancels in the ratio.
    both = np.stack([numerators, denominators])
    sums = np.concatenate(
        [both[:, drawn].sum(axis=2) for drawn in _resamples(both.shape[1])], axis=1
    )
    low, high = np.quantile(sums[1], [0.025, 0.975])
    if low <= 0 <= high:
        return None
    # The denominator may still be zero in a few resamples outside the interval.
    above, below = sums[:, sums[1] != 0]
    low, high = np.quantile(above / below, [0.025, 0.975])
    return Estimate(float(numerators.sum() / denominators.sum()), float(low), float(high))


def gain_ratio(gains: Values, reference: Values, prompt_ids: Names) -> Estimate | None:
    """Return the gain of one arm as a share of the gain of a reference arm.

    All arrays are (n,). Both gains are differences to the same third arm, row by row. Returns None
    if the reference gain is indistinguishable from zero.
    """
    return ratio(sums_by_group(gains, prompt_ids), sums_by_group(reference, prompt_ids))


def sums_by_group(values: Values, groups: Names) -> Values:
    """Return the sum of each group's values, in the sorted order of the groups' names."""
    _, group = np.unique(groups, return_inverse=True)
    return np.bincount(group, weights=values).astype(np.float64)


def sign_test(wins: int, losses: int) -> float:
    """Return the two-sided p-value of wins and losses if both are equally likely.

    Ties must be left out of both counts. The p-value is twice the binomial probability of at most
    the smaller count, and at most 1.
    """
    throws = wins + losses
    # Integers neither overflow nor round for thousands of throws. Only the last step divides.
    ways, tail = 1, 0
    for successes in range(min(wins, losses) + 1):
        tail += ways
        ways = ways * (throws - successes) // (successes + 1)
    return min(1.0, float(2 * tail / (1 << throws)))


def _resamples(size: int) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the bootstrap's draws in blocks (n, size) of positions below ``size``."""
    # The fixed seed makes a report reproducible.
    random = np.random.default_rng(0)
    block = max(1, _DRAWN_AT_ONCE // size)
    for start in range(0, _RESAMPLES, block):
        yield random.integers(size, size=(min(block, _RESAMPLES - start), size))
