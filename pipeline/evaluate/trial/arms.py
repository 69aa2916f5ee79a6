"""The arms of a trial: ways to get an image of a prompt and a seed. B batch.

An arm is plain data, so that what a trial compared can be written down, and digested. It may build
upon arms that were drawn before it, whose images are then not made twice.
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
from pipeline.evaluate.trial.arm_runner import ArmResult, ArmRunner, Batch, Cost
from pipeline.stages.propose import Source, propose
from pipeline.stages.sample import SampledImages
from pipeline.stages.score import judge


class Arm(Protocol):
    """One way to get an image."""

    def draw(self, bench: ArmRunner, batch: Batch, before: Mapping[str, ArmResult]) -> ArmResult:
        """An image for each row of the batch; ``before`` has the earlier arms' same rows."""
        ...


@dataclass(frozen=True, kw_only=True)
class Plain:
    """Random noise, nothing done to it."""

    seed_index: int = 0
    """Which of the sample's seeds; 0 is that of its source noise."""
    sampling: SamplingConfig | None = None
    """Where it is not sampled as the trial's images are."""

    def draw(self, bench: ArmRunner, batch: Batch, before: Mapping[str, ArmResult]) -> ArmResult:
        """Images of random noise."""
        return bench.draw(batch, batch.noises[self.seed_index], self.sampling)


@dataclass(frozen=True, kw_only=True)
class Proposed:
    """Noise that a proposer made of the source noise."""

    proposer: str
    onto: str | None = None
    """An arm whose noise is taken in place of the source noise: the proposer applied again."""
    for_wrong_prompt: bool = False
    """The control: the proposer is told another prompt than the sampler."""

    def draw(self, bench: ArmRunner, batch: Batch, before: Mapping[str, ArmResult]) -> ArmResult:
        """Images of proposed noise."""
        first = before[self.onto] if self.onto else None
        source = first.noise if first else batch.noises[0]
        prompts = batch.wrong if self.for_wrong_prompt else batch.encoded
        noise, cost = _propose(bench, self.proposer, prompts, source)
        proposing = first.proposing + cost if first else cost
        return bench.draw(batch, noise, proposing=proposing)


@dataclass(frozen=True, kw_only=True)
class Resampled:
    """The noise of another arm, sampled in another way."""

    noise_of: str
    sampling: SamplingConfig

    def draw(self, bench: ArmRunner, batch: Batch, before: Mapping[str, ArmResult]) -> ArmResult:
        """Images of the other arm's noise."""
        first = before[self.noise_of]
        return bench.draw(batch, first.noise, self.sampling, first.proposing)


@dataclass(frozen=True, kw_only=True)
class JudgedByWrongPrompt:
    """The images of another arm, asked whether they show the wrong prompt, not their own."""

    images_of: str

    def draw(self, bench: ArmRunner, batch: Batch, before: Mapping[str, ArmResult]) -> ArmResult:
        """No image is sampled anew; the scores are others."""
        first = before[self.images_of]
        return replace(first, scores=judge(bench.rewards, batch.wrong_prompts, first.images))


@dataclass(frozen=True, kw_only=True)
class RandomPerturbation:
    """The control: as far from the source noise as another arm's noise, in a random direction.

    The part of the perturbation that lies along the source noise is kept, the rest is replaced by a
    random one of its size. So noise, perturbation and the angle between noise and source noise all
    have the size they have in the other arm; nothing has to be rescaled.
    """

    like: str
    seed_index: int

    def draw(self, bench: ArmRunner, batch: Batch, before: Mapping[str, ArmResult]) -> ArmResult:
        """Images of perturbed noise."""
        noise = perturbed_like(
            batch.noises[0], before[self.like].noise, batch.noises[self.seed_index]
        )
        return bench.draw(batch, stored(noise))


@dataclass(frozen=True, kw_only=True)
class BestOf:
    """The image, of several arms', that the selecting reward scores highest."""

    arms: tuple[str, ...]

    def draw(self, bench: ArmRunner, batch: Batch, before: Mapping[str, ArmResult]) -> ArmResult:
        """The chosen images; nothing is sampled, and all that was sampled counts."""
        drawn = [before[name] for name in self.arms]
        scores = np.array([one.scores[bench.selecting] for one in drawn], dtype=np.float64)
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
                for name in bench.rewards
            },
            proposing=Cost(),
            cost=sum(costs[1:], costs[0]),
            choosing=drawn[0].choosing,
        )


def perturbed_like(source: Tensor, other: Tensor, random: Tensor) -> Tensor:
    """``source`` moved as ``other`` is from it, but for the direction; float32 (B, ...).

    All three are (B, ...); ``random`` gives the direction across ``source``.
    """
    x = as_model_input(source).flatten(1)
    delta = as_model_input(other).flatten(1) - x
    along = _projection(delta, x)
    across = as_model_input(random).flatten(1)
    across = across - _projection(across, x)
    across = across * (_norm(delta - along) / _norm(across))
    return (x + along + across).reshape(source.shape)


def _projection(vectors: Tensor, onto: Tensor) -> Tensor:
    """The part of each row (B, D) that lies along the same row of ``onto``."""
    share = (vectors * onto).sum(1, keepdim=True) / onto.square().sum(1, keepdim=True)
    along: Tensor = share * onto
    return along


def _norm(vectors: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    return norms


def _propose(
    bench: ArmRunner, name: str, prompts: EncodedPrompts, source: Tensor
) -> tuple[Tensor, Cost]:
    """Noise as it would be stored, float16 on the CPU, and the cost of one."""
    begin = bench.now()
    model_input = as_model_input(source).to(bench.denoiser.device)
    proposer = {name: bench.proposers[name]}
    ((_, proposed),) = propose(proposer, bench.denoiser, prompts, Source(noise=model_input))
    noise = stored(proposed.golden_noise).cpu()
    # A network runs no denoiser; as one evaluation its cost is not hidden where these are counted.
    evaluations = max(sum(proposed.forward_evaluations) / len(source), 1.0)
    return noise, Cost(evaluations, (bench.now() - begin) / len(source))


def _pick(options: list[Tensor], chosen: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> Tensor:
    """Row b of option ``chosen[b]``, for each b."""
    rows = torch.arange(len(chosen))
    return torch.stack(options)[torch.from_numpy(chosen), rows]
