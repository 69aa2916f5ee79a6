"""Scores of images under every reward. B batch."""

from collections.abc import Mapping, Sequence
from math import isfinite

from torch import Tensor

from pipeline.determinism import settings_kept
from pipeline.errors import EntryPointError
from pipeline.models.reward import Reward
from pipeline.stages.sample import SampledImages

Scores = dict[str, list[float | None]]
"""By reward name, a score for each image; None where none could be given."""


def judge(rewards: Mapping[str, Reward], prompts: Sequence[str], images: SampledImages) -> Scores:
    """Score a batch under each reward; an image that is not finite gets no score.

    Every reward receives copies: one that writes into its images changes neither the stored
    pictures nor the scores of the next. Raises ``EntryPointError`` for a reward that does not
    return one score for each image.
    """
    return {
        name: [
            score if finite and isfinite(score) else None
            for score, finite in zip(
                _scores(name, reward, prompts, images), images.finite, strict=True
            )
        ]
        for name, reward in rewards.items()
    }


def _scores(
    name: str, reward: Reward, prompts: Sequence[str], images: SampledImages
) -> list[float]:
    with settings_kept():
        scores: object = reward.score(list(prompts), images.pixels.clone())
    if not isinstance(scores, Tensor) or scores.shape != (len(prompts),) or scores.is_complex():
        found = (
            f"{scores.dtype} {tuple(scores.shape)}"
            if isinstance(scores, Tensor)
            else type(scores).__name__
        )
        raise EntryPointError(
            f"reward {name!r}: score returned {found} for {len(prompts)} images; it must return a "
            f"tensor of real numbers ({len(prompts)},)"
        )
    return [float(score) for score in scores.detach().float().tolist()]
