"""Samples that a page shows: the largest gains, the largest losses, and random samples."""

from dataclasses import dataclass

import numpy as np

from pipeline.evaluate.trial.arm_specs import STANDARD
from pipeline.evaluate.trial.results import Results


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Positions of the chosen samples."""

    gains: list[int]
    """Samples with the largest gains, largest first."""
    losses: list[int]
    """Samples with the largest losses, largest first. Fewer than requested if fewer lost."""
    random: list[int]


def choose_examples(results: Results, arm: str, judging: str, count: int) -> Examples:
    """Choose ``count`` samples of each kind by the gain of ``arm`` over standard noise.

    The gain is measured by the judging reward. The other rewards break ties, which are common under
    a coarse reward.
    """
    drawn = np.flatnonzero(results.drawn_in_both(arm, STANDARD))
    others = [reward for reward in results.rewards if reward != judging]
    differences = [
        (results.column(arm, reward) - results.column(STANDARD, reward))[drawn]
        for reward in (*others, judging)
    ]
    # lexsort uses its last key as the primary key.
    order = drawn[np.lexsort(differences)]
    judged = results.column(arm, judging) - results.column(STANDARD, judging)
    random = np.random.default_rng(0).permutation(drawn)[:count]
    return Examples(
        gains=[int(i) for i in order[::-1][:count] if judged[i] > 0],
        losses=[int(i) for i in order[:count] if judged[i] < 0],
        random=[int(i) for i in random],
    )
