"""Sampling, judging and timing of a trial's images with the models of one process.

B batch, ... latent dimensions, H W image height and width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Self

import torch
from torch import Tensor

from pipeline.config.sections import SamplingConfig
from pipeline.diffusion.denoiser import Denoiser, EncodedPrompts
from pipeline.diffusion.noise import source_noise, stored
from pipeline.diffusion.sample import sample_evaluations
from pipeline.evaluate.trial.samples import TrialSample
from pipeline.models.reward import Reward
from pipeline.stages.propose import Proposer
from pipeline.stages.sample import SampledImages, sample_images
from pipeline.stages.score import BatchScores, score_images


@dataclass(frozen=True)
class Cost:
    """Cost of one image, including work that the trial shares with other arms."""

    evaluations: float = 0.0
    """Number of forward evaluations of the denoiser; a noise prompt network counts as one."""
    seconds: float = 0.0
    """Wall-clock time in seconds."""

    def __add__(self, other: Self) -> "Cost":
        return Cost(self.evaluations + other.evaluations, self.seconds + other.seconds)


@dataclass(frozen=True, kw_only=True)
class SampleBatch:
    """Batch of samples with encoded prompts and noises: the input of the arms."""

    prompts: tuple[str, ...]
    encoded: EncodedPrompts
    """Encoded prompts."""
    wrong_prompts: tuple[str, ...]
    """Wrong prompt of each sample, for the controls."""
    wrong: EncodedPrompts
    """Encoded wrong prompts."""
    noises: tuple[Tensor, ...]
    """Stored noises for each seed index, float16 (B, ...), on the CPU."""

    def take(self, rows: Sequence[int]) -> "SampleBatch":
        """Return the given rows, in that order."""
        return SampleBatch(
            prompts=tuple(self.prompts[row] for row in rows),
            encoded=self.encoded.take(rows),
            wrong_prompts=tuple(self.wrong_prompts[row] for row in rows),
            wrong=self.wrong.take(rows),
            noises=tuple(noise[list(rows)] for noise in self.noises),
        )


@dataclass(frozen=True, kw_only=True)
class ArmResult:
    """Images of one arm for a batch, with their noises, scores and costs."""

    noise: Tensor
    """Initial noise of the images, rounded as for storage: float16 (B, ...)."""
    images: SampledImages
    scores: BatchScores
    proposing: Cost
    """Cost of proposing the noise of one image."""
    cost: Cost
    """Total cost of one image, ``proposing`` included."""
    choosing: Cost
    """Cost of scoring one image with the selecting reward. It is part of an arm's total cost only
    if that arm chooses between images."""

    def take(self, rows: Sequence[int]) -> "ArmResult":
        """Return the given rows, in that order."""
        images = SampledImages(
            pixels=self.images.pixels[list(rows)],
            finite=tuple(self.images.finite[row] for row in rows),
        )
        return ArmResult(
            noise=self.noise[list(rows)],
            images=images,
            scores={name: [column[row] for row in rows] for name, column in self.scores.items()},
            proposing=self.proposing,
            cost=self.cost,
            choosing=self.choosing,
        )


@dataclass(frozen=True, kw_only=True)
class ArmRunner:
    """Loaded models, with the methods that sample, judge and time images."""

    denoiser: Denoiser
    rewards: Mapping[str, Reward]
    selecting: str
    """Name of the reward that chooses the best of several images."""
    proposers: Mapping[str, Proposer]
    """Maps the names of golden noise and of the networks to their proposers."""
    sampling: SamplingConfig
    """Sampling settings of arms that have none."""

    def batch(self, samples: Sequence[TrialSample]) -> SampleBatch:
        """Encode the prompts of samples and draw the noises of all their seeds."""
        shape = self.denoiser.latent_shape
        return SampleBatch(
            prompts=tuple(sample.prompt for sample in samples),
            encoded=self._encode([sample.prompt for sample in samples]),
            wrong_prompts=tuple(sample.wrong_prompt for sample in samples),
            wrong=self._encode([sample.wrong_prompt for sample in samples]),
            noises=tuple(
                torch.stack([stored(source_noise(seed, shape)) for seed in seeds])
                for seeds in zip(*(sample.seeds for sample in samples), strict=True)
            ),
        )

    def draw(
        self,
        batch: SampleBatch,
        noise: Tensor,
        sampling: SamplingConfig | None = None,
        proposing: Cost = Cost(),
    ) -> ArmResult:
        """Sample images from stored noise, float16 (B, ...), and score them.

        ``proposing`` is the cost of the noise; it is added to the cost of each image.
        """
        sampling = sampling or self.sampling
        begin = self.now()
        images = sample_images(self.denoiser, batch.encoded, noise, sampling)
        sampled = self.now()
        # The selecting reward is timed alone: best-of-n pays for it, other arms do not.
        scores = score_images({self.selecting: self.rewards[self.selecting]}, batch.prompts, images)
        chosen = self.now()
        others = {name: one for name, one in self.rewards.items() if name != self.selecting}
        scores |= score_images(others, batch.prompts, images)
        evaluations = sample_evaluations(
            sampling.num_inference_steps, sampling.guidance_scale, self.denoiser.guidance
        )
        return ArmResult(
            noise=noise,
            images=images,
            scores=scores,
            proposing=proposing,
            cost=proposing + Cost(evaluations, (sampled - begin) / len(noise)),
            choosing=Cost(0.0, (chosen - sampled) / len(noise)),
        )

    def now(self) -> float:
        """Wait until the device is idle and return the time in seconds."""
        # CUDA calls return before the kernels have run.
        if self.denoiser.device.type == "cuda":
            torch.cuda.synchronize(self.denoiser.device)
        return perf_counter()

    def _encode(self, prompts: Sequence[str]) -> EncodedPrompts:
        # The seeds of a prompt are adjacent in a batch, so each prompt is encoded once.
        distinct = list(dict.fromkeys(prompts))
        row = {prompt: index for index, prompt in enumerate(distinct)}
        return self.denoiser.encode_prompts(distinct).take([row[prompt] for prompt in prompts])
