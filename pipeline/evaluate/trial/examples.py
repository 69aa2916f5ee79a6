"""Which samples a page shows: the largest gains, the largest losses, and random ones."""

from dataclasses import dataclass

import numpy as np

from pipeline.evaluate.trial.arm_specs import STANDARD
from pipeline.evaluate.trial.results import Results


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Positions of samples."""

    gains: list[int]
    """Largest first."""
    losses: list[int]
    """Largest first; fewer than asked for where fewer lost."""
    random: list[int]


def choose_examples(results: Results, arm: str, judging: str, count: int) -> Examples:
    """By ``arm`` against standard noise under the judging reward.

    Equal differences, of which a coarse reward has many, are told apart by the other rewards.
    """
    drawn = np.flatnonzero(results.drawn_in_both(arm, STANDARD))
    others = [reward for reward in results.rewards if reward != judging]
    differences = [
        (results.column(arm, reward) - results.column(STANDARD, reward))[drawn]
        for reward in (*others, judging)
    ]
    # The last key is the first to count.
    order = drawn[np.lexsort(differences)]
    judged = results.column(arm, judging) - results.column(STANDARD, judging)
    random = np.random.default_rng(0).permutation(drawn)[:count]
    return Examples(
        gains=[int(i) for i in order[::-1][:count] if judged[i] > 0],
        losses=[int(i) for i in order[:count] if judged[i] < 0],
        random=[int(i) for i in random],
    )
