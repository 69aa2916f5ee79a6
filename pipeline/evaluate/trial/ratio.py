"""Ratios of two sums over the same prompts, with bootstrap intervals."""

import numpy as np

from pipeline.evaluate.statistics import Estimate, Values, resamples


def ratio(numerators: Values, denominators: Values) -> Estimate | None:
    """Return Σ numerators / Σ denominators with a bootstrap interval over prompts.

    Both arrays have one entry for each prompt. Returns None if the interval of the denominator
    includes zero, because the ratio would be meaningless.
    """
    # Both sums use the same resamples, so variation that they share cancels in the ratio.
    both = np.stack([numerators, denominators])
    sums = np.concatenate(
        [both[:, drawn].sum(axis=2) for drawn in resamples(both.shape[1])], axis=1
    )
    low, high = np.quantile(sums[1], [0.025, 0.975])
    if low <= 0 <= high:
        return None
    # The denominator may still be zero in a few resamples outside the interval.
    above, below = sums[:, sums[1] != 0]
    low, high = np.quantile(above / below, [0.025, 0.975])
    return Estimate(float(numerators.sum() / denominators.sum()), float(low), float(high))


def sums_by_group(values: Values, groups: np.ndarray[tuple[int, ...], np.dtype[np.str_]]) -> Values:
    """Return the sum of each group's values, in the sorted order of the groups' names."""
    _, group = np.unique(groups, return_inverse=True)
    return np.bincount(group, weights=values).astype(np.float64)
