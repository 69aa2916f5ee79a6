"""How much better golden noise is than its source, and the controls that say what that is worth."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

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


def paired_gain(standard: Values, other: Values, scores: Scores, mask: Mask) -> Gain | None:
    """Compare two columns of scores where ``mask`` is set; None where it is nowhere."""
    if not mask.any():
        return None
    return gain_of(standard[mask], other[mask], scores.prompt_ids[mask])


def gain_of(before: Values, after: Values, prompt_ids: npt.NDArray[np.str_]) -> Gain:
    """Compare scores pair by pair, an entry a pair; intervals are over prompts."""
    ties = int((after == before).sum())
    return Gain(
        num_pairs=len(before),
        standard=float(before.mean()),
        other=float(after.mean()),
        wins=win_rate(int((after > before).sum()) + ties // 2, len(before)),
        gain=mean(after - before, prompt_ids),
    )


def golden_gain(scores: Scores, reward: str, mask: Mask) -> Gain | None:
    """Golden against standard images of the same candidates."""
    return paired_gain(scores.source[reward], scores.golden[reward], scores, mask)


def independent_seed(scores: Scores, reward: str, seeds_per_prompt: int) -> Gain | None:
    """The control: another seed of the same prompt in the place of the golden noise.

    A fresh draw gains nothing on average. None where a prompt has a single seed.
    """
    if seeds_per_prompt < 2:
        return None
    source = scores.source[reward]
    return paired_gain(
        source,
        _next_seed(source),
        scores,
        scores.judged() & _paired_seeds(scores, seeds_per_prompt),
    )


def filtered_independent_seed(
    scores: Scores, reward: str, selecting: str, seeds_per_prompt: int
) -> Gain | None:
    """The control of the filter: fresh draws, kept where they win under ``selecting``.

    A filter picks winners by construction; so much of the kept pairs' gain is the filter's.
    """
    if seeds_per_prompt < 2:
        return None
    chosen = scores.source[selecting]
    mask = _paired_seeds(scores, seeds_per_prompt) & (_next_seed(chosen) > chosen)
    source = scores.source[reward]
    return paired_gain(source, _next_seed(source), scores, mask)


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


def _next_seed(column: Values) -> Values:
    """Each candidate's value taken from the candidate behind it."""
    return np.roll(column, -1)


def _paired_seeds(scores: Scores, seeds_per_prompt: int) -> Mask:
    """The first of each two seeds of a prompt, where both were judged.

    Disjoint pairs, each in one direction alone: going round all seeds would make every loss of one
    pair the win of another, and the control zero whatever the scores are.
    """
    judged = scores.judged()
    position = np.arange(len(judged)) % seeds_per_prompt
    first = (position % 2 == 0) & (position + 1 < seeds_per_prompt)
    return np.asarray(first & judged & np.roll(judged, -1))
