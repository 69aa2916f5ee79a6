"""Estimate of the size and duration of a build, from a short calibration."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from statistics import median
from time import perf_counter

import torch

from pipeline.config.plan import Plan
from pipeline.config.sections import Config, SamplingConfig
from pipeline.core.determinism import be_deterministic
from pipeline.costs.plan_costs import pair_bytes
from pipeline.diffusion.denoiser import Denoiser
from pipeline.diffusion.guidance import forward_evaluations
from pipeline.models.load import default_device, load_denoiser, load_rewards
from pipeline.models.resolved_models import ResolvedModels
from pipeline.stages.build_spec import BuildSpec
from pipeline.stages.propose import draw_source_noise
from pipeline.stages.sample import sample_images
from pipeline.stages.score import score_images
from pipeline.storage.formats.prompts import PromptTable

_REPEATS = 5


@dataclass(frozen=True, kw_only=True)
class BuildEstimate:
    """Estimated size and cost of a build."""

    candidates: int
    units: int
    evaluations_per_candidate: float
    """Mean number of forward evaluations; an upper bound for exact inversion."""
    bytes_per_pair: int
    """Size of a kept pair in one format, in bytes: its noises and its images."""
    images_per_candidate: float
    """Mean number of images."""
    evaluation_seconds: float
    """Seconds for one forward evaluation of one latent, on one worker of this machine."""
    image_seconds: float
    """Seconds for decoding and scoring one image."""

    @property
    def seconds_per_candidate(self) -> float:
        """Seconds for one candidate, on one worker of this machine."""
        return (
            self.evaluations_per_candidate * self.evaluation_seconds
            + self.images_per_candidate * self.image_seconds
        )


def estimate(
    plan: Plan, prompts: PromptTable, config: Config, models: ResolvedModels
) -> BuildEstimate:
    """Estimate a plan's cost from a few forward evaluations of one batch.

    Loads the models. Raises ``ModelError`` if one cannot be loaded.
    """
    be_deterministic()
    recipe = BuildSpec.of(plan)
    device = default_device()
    denoiser = load_denoiser(models.model, device, config.cluster.cpu_offload)
    rewards = load_rewards(models.rewards, device)
    size = min(recipe.batch_size, plan.unit_size, plan.num_candidates)
    batch = list(prompts.candidates(plan, range(size)))
    texts = [candidate.prompt for candidate in batch]

    with torch.inference_mode():
        encoded = denoiser.encode_prompts(texts)
        noise = draw_source_noise(batch, denoiser.latent_shape)
        latents = noise.float().to(device)
        timestep = _first_timestep(denoiser, recipe.sampling)
        one_step = recipe.sampling.model_copy(update={"num_inference_steps": 1})
        # This call also warms up the network, so that its first call is not timed below.
        images = sample_images(denoiser, encoded, noise, one_step)
        evaluation = _seconds(
            lambda: denoiser.predict(latents, timestep, encoded.conditional), device
        )
        image = _seconds(lambda: sample_images(denoiser, encoded, noise, one_step), device)
        judging = _seconds(lambda: score_images(rewards, texts, images), device)

    # Decoding cannot be timed separately. Its time is the time of an image with one step minus that
    # of the step's forward evaluations. Timing noise can make the difference negative.
    in_one_step = forward_evaluations(one_step.guidance_scale, denoiser.guidance)
    decoding = max(image - in_one_step * evaluation, 0.0)
    return BuildEstimate(
        candidates=plan.num_candidates,
        units=plan.num_units,
        evaluations_per_candidate=recipe.mean_evaluations(),
        bytes_per_pair=pair_bytes(
            recipe.output, prod(denoiser.latent_shape), prod(images.pixels.shape[1:]), texts
        ),
        images_per_candidate=recipe.mean_images(),
        evaluation_seconds=evaluation / size,
        image_seconds=(decoding + judging) / size,
    )


def _first_timestep(denoiser: Denoiser, sampling: SamplingConfig) -> float:
    steps = sampling.num_inference_steps
    if sampling.scheduler == "model":
        return denoiser.native_scheduler(steps).timesteps[0]
    return denoiser.schedule(steps).timesteps[0]


def _seconds(call: Callable[[], object], device: torch.device) -> float:
    """Return the median time of a call, in seconds."""
    times = []
    for _ in range(_REPEATS):
        begin = perf_counter()
        call()
        # CUDA calls return before the kernels have run.
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(perf_counter() - begin)
    return median(times)
