"""The ratio of two sums over the same prompts, with its interval: the gap closed, the diversity."""

import numpy as np

from pipeline.evaluate.statistics import Estimate, Values, resamples


def ratio(numerators: Values, denominators: Values) -> Estimate | None:
    """Σ numerators / Σ denominators, an entry a prompt, with a bootstrap interval over prompts.

    The same prompts are drawn for both sums: what they have in common is no uncertainty of their
    ratio. None where the denominator is not told from zero, so that a ratio would say nothing.
    """
    both = np.stack([numerators, denominators])
    sums = np.concatenate(
        [both[:, drawn].sum(axis=2) for drawn in resamples(both.shape[1])], axis=1
    )
    low, high = np.quantile(sums[1], [0.025, 0.975])
    if low <= 0 <= high:
        return None
    # In the few draws beyond the interval the denominator may still be zero.
    above, below = sums[:, sums[1] != 0]
    low, high = np.quantile(above / below, [0.025, 0.975])
    return Estimate(float(numerators.sum() / denominators.sum()), float(low), float(high))


def sums_by_group(values: Values, groups: np.ndarray[tuple[int, ...], np.dtype[np.str_]]) -> Values:
    """The sum of each group's values, in the order of the groups' names."""
    _, group = np.unique(groups, return_inverse=True)
    return np.bincount(group, weights=values).astype(np.float64)
