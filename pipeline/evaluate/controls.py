"""Golden noise and its controls, compared with the standard images of a plan's candidates."""

from collections.abc import Mapping

import numpy as np
import torch

from pipeline.config.plan import Plan
from pipeline.config.sections import SamplingConfig
from pipeline.diffusion.denoiser import Denoiser
from pipeline.evaluate.compare import Gain, Mask, Values, compare
from pipeline.evaluate.scores import ScoreTable
from pipeline.models.reward import Reward
from pipeline.stages.build_spec import BuildSpec
from pipeline.stages.propose import draw_source_noise
from pipeline.stages.sample import sample_images
from pipeline.stages.score import score_images
from pipeline.storage.formats.prompts import PromptTable

_MOST_SAMPLED = 256


def golden_gain(scores: ScoreTable, reward: str, mask: Mask) -> Gain | None:
    """Compare golden with standard images of the same candidates."""
    return compare(scores.source[reward], scores.golden[reward], scores.prompt_ids, mask)


def independent_seed(scores: ScoreTable, reward: str, seeds_per_prompt: int) -> Gain | None:
    """Compute the control in which another seed of the same prompt replaces the golden noise.

    Its expected gain is zero. Return None if prompts have a single seed.
    """
    source = scores.source[reward]
    mask = scores.judged() & _paired_seeds(scores, seeds_per_prompt)
    return compare(source, _next_seed(source), scores.prompt_ids, mask)


def filtered_independent_seed(
    scores: ScoreTable, reward: str, selecting: str, seeds_per_prompt: int
) -> Gain | None:
    """Compute the control of the filter: other seeds, kept where they win under ``selecting``.

    A filter selects winners even from random seeds. This gain is the part of the kept pairs' gain
    that comes from the filter alone. Return None if prompts have a single seed.
    """
    chosen = scores.source[selecting]
    mask = _paired_seeds(scores, seeds_per_prompt) & (_next_seed(chosen) > chosen)
    source = scores.source[reward]
    return compare(source, _next_seed(source), scores.prompt_ids, mask)


def best_of_seeds(
    scores: ScoreTable, reward: str, selecting: str, seeds_per_prompt: int
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
    return compare(source, winners, scores.prompt_ids, scores.judged() & np.isfinite(winners))


def plain_guidance(
    denoiser: Denoiser,
    rewards: Mapping[str, Reward],
    plan: Plan,
    prompts: PromptTable,
    scores: ScoreTable,
    sampling: SamplingConfig,
) -> dict[str, Gain | None]:
    """Sample source noises at another guidance scale and return the gain under each reward.

    ``sampling`` has the other scale. Only the first seed of the first 256 prompts is sampled: these
    images are independent, and the win rate's interval is a few per cent wide.
    """
    positions = range(0, plan.num_candidates, plan.seeds_per_prompt)[:_MOST_SAMPLED]
    batch_size = BuildSpec.of(plan).batch_size
    other = {name: np.full(plan.num_candidates, np.nan) for name in rewards}
    for start in range(0, len(positions), batch_size):
        batch = positions[start : start + batch_size]
        candidates = list(prompts.candidates(plan, batch))
        texts = [candidate.prompt for candidate in candidates]
        with torch.inference_mode():
            noise = draw_source_noise(candidates, denoiser.latent_shape)
            encoded = denoiser.encode_prompts(texts)
            judged = score_images(rewards, texts, sample_images(denoiser, encoded, noise, sampling))
        for name, column in judged.items():
            other[name][batch] = [float("nan") if score is None else score for score in column]
    mask = scores.judged() & np.logical_and.reduce([np.isfinite(c) for c in other.values()])
    return {
        name: compare(scores.source[name], column, scores.prompt_ids, mask)
        for name, column in other.items()
    }


def _next_seed(column: Values) -> Values:
    """Return for each candidate the value of the next candidate."""
    # The last seed of a prompt gets a seed of the next prompt. ``_paired_seeds`` excludes it.
    return np.roll(column, -1)


def _paired_seeds(scores: ScoreTable, seeds_per_prompt: int) -> Mask:
    """Return a mask of the first seed of each pair of a prompt's seeds that were both judged.

    It is False everywhere if prompts have a single seed.
    """
    # The pairs are disjoint and each counts in one direction. Comparing every seed with the next
    # one in a circle would sum to zero for any scores.
    judged = scores.judged()
    position = np.arange(len(judged)) % seeds_per_prompt
    first = (position % 2 == 0) & (position + 1 < seeds_per_prompt)
    return np.asarray(first & judged & np.roll(judged, -1))
