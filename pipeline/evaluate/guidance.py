"""Control with plain guidance: images of the source noises at another guidance scale."""

from collections.abc import Mapping

import numpy as np
import torch

from pipeline.config.sections import SamplingConfig
from pipeline.diffusion.denoiser import Denoiser, Guidance
from pipeline.diffusion.sample import sample_evaluations
from pipeline.evaluate.gains import Gain, paired_gain
from pipeline.evaluate.scores import Scores
from pipeline.models.reward import Reward
from pipeline.plan import Plan
from pipeline.stages.build_spec import BuildSpec
from pipeline.stages.propose import draw_source_noise
from pipeline.stages.sample import sample_images
from pipeline.stages.score import judge
from pipeline.storage.formats.prompts import PromptTable

_MOST_SAMPLED = 256


def plain_guidance(
    denoiser: Denoiser,
    rewards: Mapping[str, Reward],
    plan: Plan,
    prompts: PromptTable,
    scores: Scores,
    sampling: SamplingConfig,
) -> dict[str, Gain | None]:
    """Sample source noises with other settings and return the gain under each reward.

    ``sampling`` has the other guidance scale. Only the first seed of the first 256 prompts is
    sampled: these images are independent, and the win rate's interval is a few per cent wide.
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
            judged = judge(rewards, texts, sample_images(denoiser, encoded, noise, sampling))
        for name, column in judged.items():
            other[name][batch] = [float("nan") if score is None else score for score in column]
    mask = scores.judged() & np.logical_and.reduce([np.isfinite(c) for c in other.values()])
    return {
        name: paired_gain(scores.source[name], column, scores, mask)
        for name, column in other.items()
    }


def guidance_evaluations(sampling: SamplingConfig, guidance: Guidance) -> int:
    """Return the number of forward evaluations for one image."""
    return sample_evaluations(sampling.num_inference_steps, sampling.guidance_scale, guidance)
