"""Scoring of images with every reward."""

from collections.abc import Mapping, Sequence
from math import isfinite

from torch import Tensor

from pipeline.core.entry_point import custom_code
from pipeline.core.errors import EntryPointError
from pipeline.models.reward import Reward
from pipeline.stages.sample import SampledImages

BatchScores = dict[str, list[float | None]]
"""Maps each reward's name to one score per image, or None where there is no score."""


def score_images(
    rewards: Mapping[str, Reward], prompts: Sequence[str], images: SampledImages
) -> BatchScores:
    """Score a batch of images with each reward.

    An image with non-finite values gets no score, and a non-finite score counts as missing. Every
    reward receives copies, so a reward that writes into its images changes neither the stored
    images nor the scores of the next reward.

    Raises ``EntryPointError`` if a reward does not return one real score per image.
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
    # Images that are not finite are scored too, as black ones. Leaving them out would change the
    # batch, and with it the rounding of the other scores.
    with custom_code(f"reward {name!r}"):
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
