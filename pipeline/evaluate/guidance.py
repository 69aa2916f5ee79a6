"""The control that needs the model: plain guidance, from the same noises, without golden noise."""

from collections.abc import Mapping

import numpy as np
import torch

from pipeline.config import SamplingConfig
from pipeline.diffusion.sample import sample_evaluations
from pipeline.evaluate.gains import Gain, paired_gain
from pipeline.evaluate.scores import Scores
from pipeline.models.denoiser import Denoiser
from pipeline.models.reward import Reward
from pipeline.plan import Plan, PromptTable
from pipeline.stages.judge import judge
from pipeline.stages.propose import draw_source_noise
from pipeline.stages.sample import sample_images
from pipeline.stages.unit import Recipe


def plain_guidance(
    denoiser: Denoiser,
    rewards: Mapping[str, Reward],
    plan: Plan,
    prompts: PromptTable,
    scores: Scores,
    sampling: SamplingConfig,
) -> dict[str, Gain | None]:
    """Sample every candidate's source noise under another guidance scale; gains by reward."""
    batch_size = Recipe.of(plan).batch_size
    columns: dict[str, list[float]] = {name: [] for name in rewards}
    for start in range(0, plan.num_candidates, batch_size):
        positions = range(start, min(start + batch_size, plan.num_candidates))
        candidates = list(prompts.candidates(plan, positions))
        texts = [candidate.prompt for candidate in candidates]
        with torch.inference_mode():
            noise = draw_source_noise(candidates, denoiser.latent_shape)
            encoded = denoiser.encode_prompts(texts)
            judged = judge(rewards, texts, sample_images(denoiser, encoded, noise, sampling))
        for name, column in judged.items():
            columns[name].extend(float("nan") if score is None else score for score in column)
    other = {name: np.array(column) for name, column in columns.items()}
    mask = scores.judged() & np.logical_and.reduce([np.isfinite(c) for c in other.values()])
    return {
        name: paired_gain(scores.source[name], column, scores, mask)
        for name, column in other.items()
    }


def guidance_evaluations(sampling: SamplingConfig) -> int:
    """Forward evaluations for one image."""
    return sample_evaluations(sampling.num_inference_steps, sampling.guidance_scale)
