"""The models of one process, and the one measured way in which every image of a trial is made.

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
from pipeline.evaluate.trial.samples import Sample
from pipeline.models.reward import Reward
from pipeline.stages.propose import Proposer
from pipeline.stages.sample import SampledImages, sample_images
from pipeline.stages.score import Scores, judge


@dataclass(frozen=True)
class Cost:
    """What one image takes, by itself: nothing is free because another arm has done it."""

    evaluations: float = 0.0
    """Forward evaluations of the denoiser; a network that proposes noise counts as one."""
    seconds: float = 0.0

    def __add__(self, other: Self) -> "Cost":
        return Cost(self.evaluations + other.evaluations, self.seconds + other.seconds)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Some samples, as the arms take them."""

    prompts: tuple[str, ...]
    encoded: EncodedPrompts
    wrong_prompts: tuple[str, ...]
    """The wrong prompt of each sample."""
    wrong: EncodedPrompts
    """The same, encoded."""
    noises: tuple[Tensor, ...]
    """For each of a sample's seeds the stored noises, float16 (B, ...), on the CPU."""

    def take(self, rows: Sequence[int]) -> "Batch":
        """Some rows, in that order."""
        return Batch(
            prompts=tuple(self.prompts[row] for row in rows),
            encoded=self.encoded.take(rows),
            wrong_prompts=tuple(self.wrong_prompts[row] for row in rows),
            wrong=self.wrong.take(rows),
            noises=tuple(noise[list(rows)] for noise in self.noises),
        )


@dataclass(frozen=True, kw_only=True)
class ArmResult:
    """What an arm made of a batch."""

    noise: Tensor
    """The noise that was sampled from, as it would be stored: float16 (B, ...)."""
    images: SampledImages
    scores: Scores
    proposing: Cost
    """To get the noise, for one image."""
    cost: Cost
    """For one image, all of it."""
    choosing: Cost
    """To score one image under the selecting reward; part of the cost only where that chooses."""

    def take(self, rows: Sequence[int]) -> "ArmResult":
        """Some rows, in that order."""
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
    """Models in memory."""

    denoiser: Denoiser
    rewards: Mapping[str, Reward]
    selecting: str
    """The reward by which a best one is chosen."""
    proposers: Mapping[str, Proposer]
    sampling: SamplingConfig
    """How images are sampled where an arm says nothing else."""

    def batch(self, samples: Sequence[Sample]) -> Batch:
        """Encode prompts, each once, and draw the noises of all seeds."""
        shape = self.denoiser.latent_shape
        return Batch(
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
        batch: Batch,
        noise: Tensor,
        sampling: SamplingConfig | None = None,
        proposing: Cost = Cost(),
    ) -> ArmResult:
        """Sample images from stored noise, float16 (B, ...), and judge them."""
        sampling = sampling or self.sampling
        begin = self.now()
        images = sample_images(self.denoiser, batch.encoded, noise, sampling)
        sampled = self.now()
        scores = judge({self.selecting: self.rewards[self.selecting]}, batch.prompts, images)
        chosen = self.now()
        others = {name: one for name, one in self.rewards.items() if name != self.selecting}
        scores |= judge(others, batch.prompts, images)
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
        """Seconds, when everything that was asked of the device is done."""
        if self.denoiser.device.type == "cuda":
            torch.cuda.synchronize(self.denoiser.device)
        return perf_counter()

    def _encode(self, prompts: Sequence[str]) -> EncodedPrompts:
        distinct = list(dict.fromkeys(prompts))
        row = {prompt: index for index, prompt in enumerate(distinct)}
        return self.denoiser.encode_prompts(distinct).take([row[prompt] for prompt in prompts])
