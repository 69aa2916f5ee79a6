"""Computation of one batch: source images first, then every golden noise with its image.

Each source image is sampled once. All golden noises of its candidate are compared with it.
Shapes use B for the batch size.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from torch import Tensor

from pipeline.core.records import Candidate
from pipeline.diffusion.denoiser import Denoiser, EncodedPrompts
from pipeline.diffusion.noise import as_model_input, noise_stats, stored
from pipeline.models.reward import Reward
from pipeline.stages.build_spec import BuildSpec
from pipeline.stages.first_prediction import FirstPredictionDenoiser
from pipeline.stages.propose import (
    ProposedNoise,
    Proposer,
    Source,
    draw_source_noise,
    propose,
)
from pipeline.stages.sample import SampledImages, decode_images, sample_clean
from pipeline.stages.score import score_images
from pipeline.stages.select import BestProposal, Judged, ScoredProposal, Selection
from pipeline.stages.stage_clock import Stage, StageClock


@dataclass(frozen=True, kw_only=True)
class Models:
    """Models and proposers that compute a batch."""

    denoiser: Denoiser
    rewards: Mapping[str, Reward]
    proposers: Mapping[str, Proposer]


@dataclass(frozen=True, kw_only=True)
class ProducedBatch:
    """Result of one batch, with one row per candidate."""

    source_noise: Tensor
    """Source noise in its stored form: float16 (B, ...), on the CPU."""
    source_pixels: Tensor
    """Source images: uint8 (B, H, W, 3), on the CPU."""
    best: list[BestProposal]
    """Best golden noise of each candidate."""
    image_evaluations: int
    """Number of forward evaluations for one source image."""

    @property
    def forward_evaluations(self) -> int:
        """Number of forward evaluations in the batch, each of one latent."""
        return sum(self.candidate_evaluations(row) for row in range(len(self.best)))

    def candidate_evaluations(self, row: int) -> int:
        """Return the number of forward evaluations for the candidate in ``row``."""
        return self.image_evaluations + self.best[row].forward_evaluations


def produce_batch(
    candidates: Sequence[Candidate],
    encoded: EncodedPrompts,
    models: Models,
    spec: BuildSpec,
    clock: StageClock,
) -> ProducedBatch:
    """Compute a batch of candidates.

    Args:
        candidates: The candidates, one per row.
        encoded: Their encoded prompts, in the same order.
        models: The denoiser, the rewards and the proposers.
        spec: The settings of the plan.
        clock: Receives the seconds of each stage.
    """
    denoiser = FirstPredictionDenoiser(models.denoiser)
    # This noise is already rounded to float16. The source image is sampled from the rounded values,
    # so it belongs to the noise that is stored.
    noise = draw_source_noise(candidates, denoiser.latent_shape)
    with clock.measure(Stage.SAMPLE):
        latents = sample_clean(denoiser, encoded, noise, spec.sampling)
    with clock.measure(Stage.DECODE):
        images = decode_images(denoiser, latents)
    sources = _SourceBatch(
        candidates=candidates,
        encoded=encoded,
        noise=noise,
        images=images,
        models=models,
        spec=spec,
        clock=clock,
    )
    source = Source(
        candidates=tuple(candidates),
        noise=as_model_input(noise).to(denoiser.device),
        latents=latents,
    )
    # Golden noises arrive one at a time. Only the best of each candidate keeps its noise and image,
    # so memory does not grow with the number of proposals.
    best: list[BestProposal] = []
    proposals = propose(models.proposers, denoiser, encoded, source)
    for name, proposed in clock.each(Stage.PROPOSE, proposals):
        scored = list(sources.scored(name, proposed))
        best = (
            [chosen.joined_by(one) for chosen, one in zip(best, scored, strict=True)]
            if best
            else [BestProposal(best=one) for one in scored]
        )
    return ProducedBatch(
        source_noise=noise,
        source_pixels=sources.images.pixels,
        best=best,
        image_evaluations=spec.image_evaluations(),
    )


class _SourceBatch:
    """Source images with their scores, and the rule that compares golden images with them."""

    def __init__(
        self,
        *,
        candidates: Sequence[Candidate],
        encoded: EncodedPrompts,
        noise: Tensor,
        images: SampledImages,
        models: Models,
        spec: BuildSpec,
        clock: StageClock,
    ) -> None:
        self.images = images
        self._noise, self._encoded, self._models, self._spec = noise, encoded, models, spec
        self._clock = clock
        self._prompts = [candidate.prompt for candidate in candidates]
        # Scored once: every golden noise of a candidate is compared with the same source scores.
        with clock.measure(Stage.JUDGE):
            self._scores = score_images(models.rewards, self._prompts, images)
        self._selection = Selection(
            rule=spec.rule, gate=spec.gate, num_values=prod(noise.shape[1:])
        )

    def scored(self, name: str, proposed: ProposedNoise) -> Iterator[ScoredProposal]:
        """Sample the image of one golden noise per candidate, and score and judge it."""
        denoiser, sampling = self._models.denoiser, self._spec.sampling
        # The golden image is sampled from the stored float16 noise, not from the float32 proposal.
        # The stored pair is therefore exactly the pair that was scored.
        noise = stored(proposed.golden_noise).cpu()
        with self._clock.measure(Stage.SAMPLE):
            latents = sample_clean(denoiser, self._encoded, noise, sampling)
        with self._clock.measure(Stage.DECODE):
            images = decode_images(denoiser, latents)
        with self._clock.measure(Stage.JUDGE):
            scores = score_images(self._models.rewards, self._prompts, images)
        for row in range(len(noise)):
            judged = Judged(
                noise_stats=noise_stats(self._noise[row], noise[row]),
                converged=proposed.converged[row],
                images_finite=self.images.finite[row] and images.finite[row],
                source_rewards={reward: column[row] for reward, column in self._scores.items()},
                golden_rewards={reward: column[row] for reward, column in scores.items()},
            )
            status, reason = self._selection.decide(judged)
            yield ScoredProposal(
                name=name,
                # Clone the rows: a view would keep the tensor of the entire batch in memory.
                golden_noise=noise[row].clone(),
                pixels=images.pixels[row].clone(),
                judged=judged,
                status=status,
                reason=reason,
                preference=self._selection.preference(judged),
                forward_evaluations=proposed.forward_evaluations[row]
                + self._spec.image_evaluations(),
            )
