"""What a plan will cost, before anything of it runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from time import perf_counter

import torch

from pipeline.config import Config
from pipeline.diffusion.guidance import forward_evaluations
from pipeline.models.load import default_device, load_denoiser, load_rewards
from pipeline.plan import Plan, PromptTable
from pipeline.records import Candidate
from pipeline.stages.judge import judge
from pipeline.stages.propose import draw_source_noise
from pipeline.stages.sample import sample_images
from pipeline.stages.unit import Recipe

_STEPS = 2
"""Steps of the calibration's image: the first one pays for warming up and is not counted."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """The size of a build."""

    candidates: int
    units: int
    evaluations_per_candidate: int
    """Forward evaluations; for exact inversion the most that it can take."""
    bytes_per_pair: int
    """Noise and images of a kept pair, in one format."""
    seconds_per_candidate: float
    """On one worker of this machine."""


def estimate(plan: Plan, prompts: PromptTable, config: Config) -> Estimate:
    """Size up a plan by a short calibration: a few forward evaluations of one batch.

    Raises ``ModelError`` as loading does.
    """
    recipe = Recipe.of(plan)
    device = default_device()
    denoiser = load_denoiser(config.model, device)
    rewards = load_rewards(config.rewards, device)
    size = min(recipe.batch_size, plan.num_candidates)
    batch = list(prompts.candidates(plan, range(size)))
    texts = [candidate.prompt for candidate in batch]

    with torch.inference_mode():
        encoded = denoiser.encode_prompts(texts)
        sampling = recipe.sampling.model_copy(update={"num_inference_steps": _STEPS})
        noise = draw_source_noise(batch, denoiser.latent_shape)
        sample_images(denoiser, encoded, noise, sampling)
        begin = perf_counter()
        images = sample_images(denoiser, encoded, noise, sampling)
        sampled = perf_counter()
        judge(rewards, texts, images)
        judged = perf_counter()
        latents = noise.float().to(device)
        timestep = denoiser.timesteps(sampling.num_inference_steps)[0]
        denoiser.predict(latents, timestep, encoded.conditional)
        _synchronise(device)
        predicted = perf_counter()

    evaluation = (predicted - judged) / size
    calibrated = _STEPS * forward_evaluations(sampling.guidance_scale) * evaluation
    decoding = max((sampled - begin) / size - calibrated, 0.0)
    judging = (judged - sampled) / size
    return Estimate(
        candidates=plan.num_candidates,
        units=plan.num_units,
        evaluations_per_candidate=recipe.evaluations(),
        bytes_per_pair=_bytes_per_pair(recipe, denoiser.latent_shape, images.pixels.shape, batch),
        seconds_per_candidate=recipe.evaluations() * evaluation + 2 * (decoding + judging),
    )


def _bytes_per_pair(
    recipe: Recipe,
    latent_shape: Sequence[int],
    pixels_shape: Sequence[int],
    batch: Sequence[Candidate],
) -> int:
    """Noises exactly; images as if they did not compress."""
    noises = 2 if recipe.output.source_noise else 1
    images = 0 if recipe.output.images == "none" else 2 * prod(pixels_shape[1:])
    prompt = sum(len(candidate.prompt.encode()) for candidate in batch) // len(batch)
    return noises * 2 * prod(latent_shape) + images + prompt


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
