"""Judging policies: which candidates of a unit are sampled and scored, and in which batches.

The batches of a unit depend on the plan alone. Skipped candidates are padded and batches are never
repacked: kernels may round differently when the composition of a batch changes, so repacking would
change the bytes of the other candidates.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import prod

import torch
from torch import Tensor

from pipeline.core.identity import is_sampled
from pipeline.core.records import Candidate, Outcome, Status
from pipeline.diffusion.denoiser import Denoiser, EncodedPrompts
from pipeline.diffusion.noise import as_model_input, noise_stats, stored
from pipeline.stages.batch import Models, produce_batch
from pipeline.stages.build_spec import BuildSpec
from pipeline.stages.packing import Packing
from pipeline.stages.propose import ProposedNoise, Source, draw_source_noise, propose
from pipeline.stages.results import (
    Results,
    failed,
    judged_results,
    unjudged_outcome,
    unjudged_pair,
)
from pipeline.stages.sample import sample_clean
from pipeline.stages.select import Selection
from pipeline.stages.stage_clock import Stage, StageClock
from pipeline.storage.formats.pairs import NoisePair


@dataclass(frozen=True, kw_only=True)
class UnitInputs:
    """Candidates of a unit. A *row* is a position in it."""

    candidates: Sequence[Candidate]
    encoded: EncodedPrompts
    """Encoded prompts, one row per candidate."""
    skipped: Mapping[int, str]
    """Maps rows to the reason why that candidate failed. They are replaced by padding."""

    def padded(self, rows: Sequence[int]) -> list[Candidate]:
        """Return the candidates of some rows, with padding in place of skipped ones."""
        return [
            _padding(self.candidates[row]) if row in self.skipped else self.candidates[row]
            for row in rows
        ]

    def is_left_out(self, rows: Sequence[int]) -> bool:
        """Return True if a batch is not computed, because all of its candidates are skipped.

        A unit that is skipped entirely is computed with padding alone, to tell a broken machine
        from a failing candidate.
        """
        are_skipped = all(row in self.skipped for row in rows)
        return are_skipped and len(self.skipped) < len(self.candidates)


def judge_all(
    unit: UnitInputs, models: Models, spec: BuildSpec, clock: StageClock
) -> Iterator[Packing]:
    """Propose golden noise for every candidate, and sample and score both images."""
    for rows in batches(range(len(unit.candidates)), spec.batch_size):
        yield judge_batch(unit, rows, models, spec, clock)


def judge_sample(
    unit: UnitInputs, models: Models, spec: BuildSpec, clock: StageClock
) -> Iterator[Packing]:
    """Propose golden noise for every candidate; sample and score the images of a random share.

    The sample is judged after all golden noises of the unit are made, in batches that are as full
    as possible.
    """
    assert spec.judged_share is not None, "all candidates are judged"
    share = spec.judged_share
    sample = [
        row
        for row, candidate in enumerate(unit.candidates)
        if is_sampled(candidate.sample_id, share)
    ]
    made: dict[int, MadeNoise] = {}
    for rows in batches(range(len(unit.candidates)), spec.batch_size):
        if not unit.is_left_out(rows):
            made |= zip(rows, _propose(unit, rows, models, spec, clock), strict=True)
    with clock.measure(Stage.PACK):
        others = _unjudged(unit, made, set(sample), models, spec)
    yield lambda: others
    for rows in batches(sample, spec.batch_size):
        given = GivenNoise.of(unit, rows, made, models, spec)
        judge = replace(models, proposers={given.name: given})
        yield judge_batch(unit, rows, judge, spec, clock)


@dataclass(frozen=True, kw_only=True)
class MadeNoise:
    """Golden noise of one candidate, which is not judged."""

    name: str
    source_noise: Tensor
    """Source noise in its stored form: float16 (...), on the CPU."""
    golden_noise: Tensor
    """Golden noise in its stored form: float16 (...), on the CPU."""
    converged: bool
    forward_evaluations: int


def judge_batch(
    unit: UnitInputs, rows: Sequence[int], models: Models, spec: BuildSpec, clock: StageClock
) -> Packing:
    """Compute a batch with all images and scores. Return the function that packs it."""
    candidates = {row: unit.candidates[row] for row in rows}
    if unit.is_left_out(rows):
        # Recorded without rewards, exactly as if the batch had been computed with padding.
        outcomes = {
            row: failed(candidate, unit.skipped[row], models.rewards)
            for row, candidate in candidates.items()
        }
        left_out = Results(outcomes=outcomes, pairs={}, forward_evaluations=0)
        return lambda: left_out
    encoded = unit.encoded.take(rows)
    batch = produce_batch(unit.padded(rows), encoded, models, spec, clock)
    return partial(
        judged_results,
        candidates,
        batch,
        encoded.truncated,
        unit.skipped,
        spec.output,
        with_judged=spec.judged_share is not None,
    )


def _propose(
    unit: UnitInputs, rows: Sequence[int], models: Models, spec: BuildSpec, clock: StageClock
) -> list[MadeNoise]:
    """Make the golden noise of a batch. A plan that judges a sample makes one per candidate."""
    candidates, encoded = unit.padded(rows), unit.encoded.take(rows)
    denoiser = models.denoiser
    noise = draw_source_noise(candidates, denoiser.latent_shape)
    latents = None
    if spec.from_images:
        with clock.measure(Stage.SAMPLE):
            latents = sample_clean(denoiser, encoded, noise, spec.sampling)
    source = Source(
        candidates=tuple(candidates),
        noise=as_model_input(noise).to(denoiser.device),
        latents=latents,
    )
    image = spec.image_evaluations() if spec.from_images else 0
    proposals = propose(models.proposers, denoiser, encoded, source)
    ((name, proposed),) = clock.each(Stage.PROPOSE, proposals)
    golden = stored(proposed.golden_noise).cpu()
    return [
        MadeNoise(
            name=name,
            # Clone the rows: a view would keep the tensor of the entire batch in memory.
            source_noise=noise[place].clone(),
            golden_noise=golden[place].clone(),
            converged=proposed.converged[place],
            forward_evaluations=image + proposed.forward_evaluations[place],
        )
        for place in range(len(rows))
    ]


def _unjudged(
    unit: UnitInputs,
    made: Mapping[int, MadeNoise],
    sample: set[int],
    models: Models,
    spec: BuildSpec,
) -> Results:
    """Return the results of the candidates that are not in the sample.

    All forward evaluations of proposing count here or, for the sample, where it is judged.
    """
    selection = Selection(
        rule=spec.rule, gate=spec.gate, num_values=prod(models.denoiser.latent_shape)
    )
    outcomes: dict[int, Outcome] = {}
    pairs: dict[int, NoisePair] = {}
    for row, candidate in enumerate(unit.candidates):
        if row in sample:
            continue
        if row in unit.skipped:
            outcomes[row] = failed(candidate, unit.skipped[row], models.rewards, judged=False)
            continue
        noise = made[row]
        stats = noise_stats(noise.source_noise, noise.golden_noise)
        status, reason = selection.decide_unjudged(stats, converged=noise.converged)
        if status is Status.UNJUDGED:
            assert stats is not None, "a candidate without statistics has failed"
            pairs[row] = unjudged_pair(
                candidate,
                noise.source_noise,
                noise.golden_noise,
                stats,
                models.rewards,
                spec.output,
            )
        outcomes[row] = unjudged_outcome(
            candidate,
            pairs.get(row),
            status=status,
            reason=reason,
            truncated=unit.encoded.truncated[row],
            rewards=models.rewards,
            noise_stats=stats,
            proposal=noise.name,
            forward_evaluations=noise.forward_evaluations,
        )
    return Results(
        outcomes=outcomes,
        pairs=pairs,
        forward_evaluations=sum(
            noise.forward_evaluations for row, noise in made.items() if row not in sample
        ),
    )


@dataclass(frozen=True, kw_only=True)
class GivenNoise:
    """Proposer of golden noise that is already made."""

    name: str
    golden_noise: Tensor
    """Golden noise in its stored form: float16 (B, ...), on the CPU."""
    converged: tuple[bool, ...]
    forward_evaluations: tuple[int, ...]
    proposals: int = 1

    @property
    def evaluations(self) -> int:
        """Maximum number of forward evaluations for one candidate, without its images."""
        return max(self.forward_evaluations)

    @classmethod
    def of(
        cls,
        unit: UnitInputs,
        rows: Sequence[int],
        made: Mapping[int, MadeNoise],
        models: Models,
        spec: BuildSpec,
    ) -> "GivenNoise":
        """Return the golden noise of some rows."""
        # Golden noise of a skipped candidate is not always made. Its padding gets a source noise,
        # which does not depend on what was computed.
        (name,) = models.proposers
        padding = draw_source_noise([_padding(unit.candidates[0])], models.denoiser.latent_shape)[0]
        noises = [None if row in unit.skipped else made[row] for row in rows]
        return cls(
            name=name,
            golden_noise=torch.stack([n.golden_noise if n else padding for n in noises]),
            converged=tuple(n.converged if n else True for n in noises),
            forward_evaluations=tuple(n.forward_evaluations if n else 0 for n in noises),
        )

    def propose(
        self, denoiser: Denoiser, prompts: EncodedPrompts, source: Source
    ) -> Sequence[ProposedNoise]:
        """Return the golden noise."""
        return [
            ProposedNoise(
                golden_noise=as_model_input(self.golden_noise).to(source.noise.device),
                forward_evaluations=self.forward_evaluations,
                converged=self.converged,
            )
        ]


def batches(rows: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    """Yield consecutive rows, ``size`` at once. The last batch may be smaller."""
    return (rows[start : start + size] for start in range(0, len(rows), size))


def _padding(candidate: Candidate) -> Candidate:
    """Return the padding for a skipped candidate: an empty prompt and seed 0."""
    return candidate.model_copy(update={"prompt": "", "seed": 0})
