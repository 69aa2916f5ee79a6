"""Arms of a trial: methods to generate an image from a prompt and a seed. B batch.

An arm is plain data, so it can be stored with the results and be part of their digest. It can use
the results of earlier arms, so that no image is sampled twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from pipeline.config.sections import SamplingConfig
from pipeline.diffusion.denoiser import EncodedPrompts
from pipeline.diffusion.noise import as_model_input, stored
from pipeline.evaluate.trial.arm_runner import ArmResult, ArmRunner, Cost, SampleBatch
from pipeline.stages.propose import Source, propose
from pipeline.stages.sample import SampledImages
from pipeline.stages.score import score_images


class Arm(Protocol):
    """Method to generate an image from a prompt and a seed."""

    def draw(
        self, runner: ArmRunner, batch: SampleBatch, before: Mapping[str, ArmResult]
    ) -> ArmResult:
        """Return an image for each row. ``before`` maps earlier arms to their results for them."""
        ...


@dataclass(frozen=True, kw_only=True)
class Plain:
    """Random noise without any change."""

    seed_index: int = 0
    """Index into the sample's seeds; 0 is the seed of the source noise."""
    sampling: SamplingConfig | None = None
    """Sampling settings; None for those of the trial."""

    def draw(
        self, runner: ArmRunner, batch: SampleBatch, before: Mapping[str, ArmResult]
    ) -> ArmResult:
        """Sample images from random noise."""
        return runner.draw(batch, batch.noises[self.seed_index], self.sampling)


@dataclass(frozen=True, kw_only=True)
class Proposed:
    """Noise that a proposer makes from the source noise."""

    proposer: str
    onto: str | None = None
    """Name of the arm whose noise the proposer receives; None for the source noise."""
    for_wrong_prompt: bool = False
    """True for the control in which the proposer receives the wrong prompt."""

    def draw(
        self, runner: ArmRunner, batch: SampleBatch, before: Mapping[str, ArmResult]
    ) -> ArmResult:
        """Sample images from proposed noise."""
        first = before[self.onto] if self.onto else None
        source = first.noise if first else batch.noises[0]
        prompts = batch.wrong if self.for_wrong_prompt else batch.encoded
        noise, cost = _propose(runner, self.proposer, prompts, source)
        proposing = first.proposing + cost if first else cost
        return runner.draw(batch, noise, proposing=proposing)


@dataclass(frozen=True, kw_only=True)
class Resampled:
    """Noise of another arm with different sampling settings."""

    noise_of: str
    sampling: SamplingConfig

    def draw(
        self, runner: ArmRunner, batch: SampleBatch, before: Mapping[str, ArmResult]
    ) -> ArmResult:
        """Sample images from the noise of the other arm."""
        first = before[self.noise_of]
        return runner.draw(batch, first.noise, self.sampling, first.proposing)


@dataclass(frozen=True, kw_only=True)
class JudgedByWrongPrompt:
    """Images of another arm, scored for the wrong prompt."""

    images_of: str

    def draw(
        self, runner: ArmRunner, batch: SampleBatch, before: Mapping[str, ArmResult]
    ) -> ArmResult:
        """Return the images of the other arm with new scores."""
        first = before[self.images_of]
        scores = score_images(runner.rewards, batch.wrong_prompts, first.images)
        return replace(first, scores=scores)


@dataclass(frozen=True, kw_only=True)
class RandomPerturbation:
    """Control with a random perturbation that is as large as the perturbation of another arm.

    The component along the source noise is kept. The orthogonal component is replaced by a random
    one of the same norm. The norm of the noise, the norm of the perturbation and the angle to the
    source noise therefore equal those of the other arm, without any rescaling.
    """

    like: str
    seed_index: int

    def draw(
        self, runner: ArmRunner, batch: SampleBatch, before: Mapping[str, ArmResult]
    ) -> ArmResult:
        """Sample images from perturbed noise."""
        noise = perturbed_like(
            batch.noises[0], before[self.like].noise, batch.noises[self.seed_index]
        )
        return runner.draw(batch, stored(noise))


@dataclass(frozen=True, kw_only=True)
class BestOf:
    """Best image of several arms by the selecting reward."""

    arms: tuple[str, ...]

    def draw(
        self, runner: ArmRunner, batch: SampleBatch, before: Mapping[str, ArmResult]
    ) -> ArmResult:
        """Return the best images. Their cost includes all images that they were chosen from."""
        drawn = [before[name] for name in self.arms]
        scores = np.array([one.scores[runner.selecting] for one in drawn], dtype=np.float64)
        # An image without a score is never chosen over one with a score.
        best = np.nan_to_num(scores, nan=-np.inf).argmax(axis=0)
        costs = [one.cost + one.choosing for one in drawn]
        return ArmResult(
            noise=_pick([one.noise for one in drawn], best),
            images=SampledImages(
                pixels=_pick([one.images.pixels for one in drawn], best),
                finite=tuple(drawn[arm].images.finite[row] for row, arm in enumerate(best)),
            ),
            scores={
                name: [drawn[arm].scores[name][row] for row, arm in enumerate(best)]
                for name in runner.rewards
            },
            proposing=Cost(),
            cost=sum(costs[1:], costs[0]),
            choosing=drawn[0].choosing,
        )


def perturbed_like(source: Tensor, other: Tensor, random: Tensor) -> Tensor:
    """Return ``source`` with a random perturbation as large as that of ``other``, float32 (B, ...).

    All three arguments are (B, ...). ``random`` gives the direction of the component that is
    orthogonal to ``source``.
    """
    x = as_model_input(source).flatten(1)
    delta = as_model_input(other).flatten(1) - x
    along = _projection(delta, x)
    across = as_model_input(random).flatten(1)
    across = across - _projection(across, x)
    across = across * (_norm(delta - along) / _norm(across))
    return (x + along + across).reshape(source.shape)


def _projection(vectors: Tensor, onto: Tensor) -> Tensor:
    """Return the projection of each row (B, D) onto the same row of ``onto``."""
    share = (vectors * onto).sum(1, keepdim=True) / onto.square().sum(1, keepdim=True)
    along: Tensor = share * onto
    return along


def _norm(vectors: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    return norms


def _propose(
    runner: ArmRunner, name: str, prompts: EncodedPrompts, source: Tensor
) -> tuple[Tensor, Cost]:
    """Return the proposed noise as stored, float16 on the CPU, and the cost of one noise."""
    begin = runner.now()
    model_input = as_model_input(source).to(runner.denoiser.device)
    proposer = {name: runner.proposers[name]}
    ((_, proposed),) = propose(proposer, runner.denoiser, prompts, Source(noise=model_input))
    noise = stored(proposed.golden_noise).cpu()
    # A network never runs the denoiser. It counts as one evaluation, so that it is not free.
    evaluations = max(sum(proposed.forward_evaluations) / len(source), 1.0)
    return noise, Cost(evaluations, (runner.now() - begin) / len(source))


def _pick(options: list[Tensor], chosen: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> Tensor:
    """Return a tensor whose row b is row b of ``options[chosen[b]]``."""
    rows = torch.arange(len(chosen))
    return torch.stack(options)[torch.from_numpy(chosen), rows]
