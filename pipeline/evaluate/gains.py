"""Gains of golden noise over its source noise, and the controls to compare them with."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.evaluate.scores import Mask, Scores
from pipeline.evaluate.statistics import Estimate, Values, mean, win_rate


@dataclass(frozen=True, kw_only=True)
class Gain:
    """Paired comparison of some images with the standard images, under one reward."""

    num_pairs: int
    standard: float
    """Mean score of the standard images."""
    other: float
    """Mean score of the images that are compared with them."""
    wins: Estimate
    """Share of pairs in which the other image scores higher. Half of the ties count as wins,
    rounded down."""
    gain: Estimate
    """Mean difference, other minus standard."""


def paired_gain(standard: Values, other: Values, scores: Scores, mask: Mask) -> Gain | None:
    """Compare two columns of scores where ``mask`` is True. Return None if it is True nowhere."""
    if not mask.any():
        return None
    return gain_of(standard[mask], other[mask], scores.prompt_ids[mask])


def gain_of(before: Values, after: Values, prompt_ids: npt.NDArray[np.str_]) -> Gain:
    """Compare scores (n,) pair by pair. The intervals are over prompts."""
    ties = int((after == before).sum())
    return Gain(
        num_pairs=len(before),
        standard=float(before.mean()),
        other=float(after.mean()),
        wins=win_rate(int((after > before).sum()) + ties // 2, len(before)),
        gain=mean(after - before, prompt_ids),
    )


def golden_gain(scores: Scores, reward: str, mask: Mask) -> Gain | None:
    """Compare golden with standard images of the same candidates."""
    return paired_gain(scores.source[reward], scores.golden[reward], scores, mask)


def independent_seed(scores: Scores, reward: str, seeds_per_prompt: int) -> Gain | None:
    """Compute the control in which another seed of the same prompt replaces the golden noise.

    Its expected gain is zero. Return None if prompts have a single seed.
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
    """Compute the control of the filter: other seeds, kept where they win under ``selecting``.

    A filter selects winners even from random seeds. This gain is the part of the kept pairs' gain
    that comes from the filter alone. Return None if prompts have a single seed.
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
    """Compare the best of a prompt's seeds under ``selecting`` with each of its seeds.

    Return None if prompts have a single seed.
    """
    if seeds_per_prompt < 2:
        return None
    # A seed without scores is never the best one.
    chosen = np.where(scores.judged(), scores.source[selecting], -np.inf)
    best = chosen.reshape(-1, seeds_per_prompt).argmax(axis=1)
    first = np.arange(0, len(chosen), seeds_per_prompt)
    source = scores.source[reward]
    winners = np.repeat(source[first + best], seeds_per_prompt)
    return paired_gain(source, winners, scores, scores.judged() & np.isfinite(winners))


def _next_seed(column: Values) -> Values:
    """Return for each candidate the value of the next candidate."""
    return np.roll(column, -1)


def _paired_seeds(scores: Scores, seeds_per_prompt: int) -> Mask:
    """Return a mask of the first seed of each pair of a prompt's seeds that were both judged."""
    # The pairs are disjoint and each counts in one direction. Comparing every seed with the next
    # one in a circle would sum to zero for any scores.
    judged = scores.judged()
    position = np.arange(len(judged)) % seeds_per_prompt
    first = (position % 2 == 0) & (position + 1 < seeds_per_prompt)
    return np.asarray(first & judged & np.roll(judged, -1))
