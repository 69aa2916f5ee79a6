"""How much better golden noise is than its source, and the controls that say what that is worth."""

from dataclasses import dataclass

import numpy as np

from pipeline.evaluate.scores import Mask, Scores
from pipeline.evaluate.statistics import Estimate, Values, mean, win_rate


@dataclass(frozen=True, kw_only=True)
class Gain:
    """One way to get an image against the standard one, under one reward."""

    num_pairs: int
    standard: float
    """Mean score of the standard images."""
    other: float
    """Mean score of the images compared with them."""
    wins: Estimate
    """Share of pairs in which the other image scores higher; a tie counts half, rounded down."""
    gain: Estimate
    """Mean difference."""


def paired_gain(standard: Values, other: Values, scores: Scores, mask: Mask) -> Gain:
    """Compare two columns of scores where ``mask`` is set."""
    before, after = standard[mask], other[mask]
    ties = int((after == before).sum())
    return Gain(
        num_pairs=len(before),
        standard=float(before.mean()),
        other=float(after.mean()),
        wins=win_rate(int((after > before).sum()) + ties // 2, len(before)),
        gain=mean(after - before, scores.prompt_ids[mask]),
    )


def golden_gain(scores: Scores, reward: str, mask: Mask) -> Gain:
    """Golden against standard images of the same candidates."""
    return paired_gain(scores.source[reward], scores.golden[reward], scores, mask)


def independent_seed(scores: Scores, reward: str, seeds_per_prompt: int) -> Gain | None:
    """The control: the next seed of the same prompt in the place of the golden noise.

    A fresh draw gains nothing on average. None where a prompt has a single seed.
    """
    if seeds_per_prompt < 2:
        return None
    source = scores.source[reward]
    return paired_gain(source, _next_seed(source, seeds_per_prompt), scores, scores.judged())


def filtered_independent_seed(
    scores: Scores, reward: str, selecting: str, seeds_per_prompt: int
) -> Gain | None:
    """The control of the filter: fresh draws, kept where they win under ``selecting``.

    A filter picks winners by construction; so much of the kept pairs' gain is the filter's.
    """
    if seeds_per_prompt < 2:
        return None
    chosen = scores.source[selecting]
    mask = scores.judged() & (_next_seed(chosen, seeds_per_prompt) > chosen)
    if not mask.any():
        return None
    source = scores.source[reward]
    return paired_gain(source, _next_seed(source, seeds_per_prompt), scores, mask)


def best_of_seeds(
    scores: Scores, reward: str, selecting: str, seeds_per_prompt: int
) -> Gain | None:
    """The best of a prompt's seeds by ``selecting``, against each of them."""
    if seeds_per_prompt < 2:
        return None
    chosen = np.where(scores.judged(), scores.source[selecting], -np.inf)
    best = chosen.reshape(-1, seeds_per_prompt).argmax(axis=1)
    first = np.arange(0, len(chosen), seeds_per_prompt)
    source = scores.source[reward]
    winners = np.repeat(source[first + best], seeds_per_prompt)
    return paired_gain(source, winners, scores, scores.judged() & np.isfinite(winners))


def _next_seed(column: Values, seeds_per_prompt: int) -> Values:
    """Each candidate's column value taken from the next seed of its prompt, round and round."""
    return np.roll(column.reshape(-1, seeds_per_prompt), -1, axis=1).reshape(-1)
