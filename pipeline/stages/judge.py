"""Scores of images under every reward. B batch."""

from collections.abc import Mapping, Sequence

from pipeline.models.reward import Reward
from pipeline.stages.sample import SampledImages

Scores = dict[str, list[float | None]]
"""By reward name, a score for each image; None where none could be given."""


def judge(rewards: Mapping[str, Reward], prompts: Sequence[str], images: SampledImages) -> Scores:
    """Score a batch under each reward; an image that is not finite gets no score."""
    return {
        name: [
            score if finite and _is_finite(score) else None
            for score, finite in zip(
                reward.score(prompts, images.pixels).tolist(), images.finite, strict=True
            )
        ]
        for name, reward in rewards.items()
    }


def _is_finite(score: float) -> bool:
    return abs(score) < float("inf")
