"""Computation of one unit, from candidates to packed pairs.

This module uses neither Ray nor a store. A plain loop over ``produce_unit`` returns the same bytes
as a cluster.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from pipeline.config.sections import OutputConfig
from pipeline.core.records import Candidate, Outcome, Status
from pipeline.diffusion.denoiser import Denoiser, EncodedPrompts
from pipeline.models.reward import Reward
from pipeline.stages.batch import Models, ProducedBatch, produce_batch
from pipeline.stages.build_spec import BuildSpec
from pipeline.stages.propose import Proposer
from pipeline.stages.sample import encode_image
from pipeline.stages.stage_clock import Stage, StageClock
from pipeline.storage.formats.arrow_shard import pack_pairs
from pipeline.storage.formats.pairs import NoisePair, PairSchema


@dataclass(frozen=True, kw_only=True)
class ProducedUnit:
    """Result of one unit."""

    outcomes: tuple[Outcome, ...]
    data: bytes
    """Arrow IPC file of the stored pairs, in the order of ``outcomes``."""
    forward_evaluations: int
    """Number of forward evaluations for all candidates, each of one latent."""
    stage_seconds: Mapping[Stage, float] = field(default_factory=dict, compare=False)
    """Seconds of each stage. They are not part of the result."""


def produce_unit(
    candidates: Sequence[Candidate],
    denoiser: Denoiser,
    rewards: Mapping[str, Reward],
    spec: BuildSpec,
    skipped: Mapping[int, str] | None = None,
    loaded: Mapping[str, Proposer] | None = None,
) -> ProducedUnit:
    """Compute one unit, always in the same batches.

    Args:
        candidates: The candidates of the unit, in their order.
        denoiser: The model.
        rewards: The rewards by name.
        spec: The settings of the plan.
        skipped: Maps positions in ``candidates`` to the reason why that candidate failed. A skipped
            candidate is replaced by padding and reported as failed.
        loaded: The proposers that are loaded from files, by name.
    """
    skipped = skipped or {}
    # Loaded proposers replace the placeholders of the same names. The order of the plan stays,
    # because the earlier one of two equally good noises wins.
    proposers = {**spec.proposers, **(loaded or {})}
    models = Models(denoiser=denoiser, rewards=rewards, proposers=proposers)
    clock = StageClock(denoiser.device)
    made: list[_Made] = []
    with torch.inference_mode():
        with clock.measure(Stage.ENCODE):
            encoded = _encode_once(denoiser, candidates, skipped)
        # Skipped candidates are padded and the batches are never repacked. Kernels may round
        # differently when the composition of a batch changes, so repacking would change the bytes
        # of the other candidates.
        for rows in _batches(len(candidates), spec.batch_size):
            of_batch = [candidates[row] for row in rows]
            reasons = {row - rows.start: skipped[row] for row in rows if row in skipped}
            # A batch of skipped candidates only is not computed. The exception is a unit that is
            # skipped entirely: it is computed with padding alone, to tell a broken machine from a
            # failing candidate.
            if len(reasons) == len(rows) and len(skipped) < len(candidates):
                made.append(_left_out(of_batch, reasons, rewards))
            else:
                made.append(_make(of_batch, encoded.take(rows), reasons, models, spec, clock))
    pairs = [pair for each in made for pair in each.pairs]
    schema = PairSchema(latent_shape=denoiser.latent_shape, reward_names=tuple(rewards))
    with clock.measure(Stage.PACK):
        data = pack_pairs(pairs, schema, spec.output.rows_per_batch)
    return ProducedUnit(
        outcomes=tuple(outcome for each in made for outcome in each.outcomes),
        data=data,
        forward_evaluations=sum(each.forward_evaluations for each in made),
        stage_seconds=clock.seconds,
    )


@dataclass(frozen=True, kw_only=True)
class _Made:
    """Result of one batch of a unit."""

    outcomes: list[Outcome]
    pairs: list[NoisePair]
    forward_evaluations: int


def _left_out(
    candidates: Sequence[Candidate], skipped: Mapping[int, str], rewards: Iterable[str]
) -> _Made:
    # Recorded without rewards, exactly as if the batch had been computed with padding.
    failed = [_failed(candidate, skipped[row], rewards) for row, candidate in enumerate(candidates)]
    return _Made(outcomes=failed, pairs=[], forward_evaluations=0)


def _make(
    candidates: Sequence[Candidate],
    encoded: EncodedPrompts,
    skipped: Mapping[int, str],
    models: Models,
    spec: BuildSpec,
    clock: StageClock,
) -> _Made:
    computed = [_padding(one) if row in skipped else one for row, one in enumerate(candidates)]
    # The outcomes of padding are replaced below, so its rewards are never recorded.
    batch = produce_batch(computed, encoded, models, spec, clock)
    with clock.measure(Stage.PACK):
        pairs = _pairs(candidates, batch, skipped, spec.output)
    outcomes = [
        _failed(candidate, skipped[row], models.rewards)
        if row in skipped
        else _outcome(candidate, batch, row, pairs.get(row), truncated=encoded.truncated[row])
        for row, candidate in enumerate(candidates)
    ]
    return _Made(
        outcomes=outcomes,
        pairs=[*pairs.values()],
        forward_evaluations=batch.forward_evaluations,
    )


def _encode_once(
    denoiser: Denoiser, candidates: Sequence[Candidate], skipped: Mapping[int, str]
) -> EncodedPrompts:
    """Encode each distinct prompt once and return one row per candidate.

    A prompt that only skipped candidates use is replaced by the empty prompt. The text encoder
    therefore always receives the same number of prompts.
    """
    prompts = [candidate.prompt for candidate in candidates]
    distinct = list(dict.fromkeys(prompts))
    live = {prompt for position, prompt in enumerate(prompts) if position not in skipped}
    encoded = denoiser.encode_prompts([prompt if prompt in live else "" for prompt in distinct])
    # A candidate's embeddings must not depend on which others are skipped, so every prompt keeps
    # its place and none is left out.
    row = {prompt: index for index, prompt in enumerate(distinct)}
    return encoded.take([row[prompt] for prompt in prompts])


def _batches(total: int, size: int) -> Iterator[range]:
    return (range(start, min(start + size, total)) for start in range(0, total, size))


def _padding(candidate: Candidate) -> Candidate:
    """Return the padding for a skipped candidate: an empty prompt and seed 0."""
    return candidate.model_copy(update={"prompt": "", "seed": 0})


def _failed(candidate: Candidate, reason: str, rewards: Iterable[str]) -> Outcome:
    """Return the outcome of a candidate that was skipped."""
    return Outcome(
        candidate=candidate.index,
        sample_id=candidate.sample_id,
        prompt_id=candidate.prompt_id,
        split=candidate.split,
        seed=candidate.seed,
        status=Status.FAILED,
        reason=reason,
        truncated=False,
        source_rewards=dict.fromkeys(rewards),
        golden_rewards=dict.fromkeys(rewards),
        noise_stats=None,
        num_bytes=0,
    )


def _outcome(
    candidate: Candidate,
    batch: ProducedBatch,
    row: int,
    pair: NoisePair | None,
    *,
    truncated: bool,
) -> Outcome:
    """Return the outcome of a computed candidate, taken from its best golden noise.

    ``pair`` is None if the pair is not stored.
    """
    proposal = batch.best[row]
    best = proposal.best
    return Outcome(
        candidate=candidate.index,
        sample_id=candidate.sample_id,
        prompt_id=candidate.prompt_id,
        split=candidate.split,
        seed=candidate.seed,
        status=best.status,
        reason=best.reason,
        truncated=truncated,
        source_rewards=dict(best.judged.source_rewards),
        golden_rewards=dict(best.judged.golden_rewards),
        noise_stats=best.judged.noise_stats,
        num_bytes=0 if pair is None else pair.num_bytes,
        proposal=best.name,
        forward_evaluations=batch.candidate_evaluations(row),
        losing_proposals=proposal.losers,
    )


def _pairs(
    candidates: Sequence[Candidate],
    batch: ProducedBatch,
    skipped: Mapping[int, str],
    output: OutputConfig,
) -> dict[int, NoisePair]:
    """Return the pairs of a batch that are stored, by row."""
    wanted = {Status.KEPT, Status.REJECTED} if output.store_rejected else {Status.KEPT}
    return {
        row: _pair(candidates[row], batch, row, output)
        for row, proposal in enumerate(batch.best)
        if row not in skipped and proposal.best.status in wanted
    }


def _pair(candidate: Candidate, batch: ProducedBatch, row: int, output: OutputConfig) -> NoisePair:
    best = batch.best[row].best
    assert best.judged.noise_stats is not None, "a candidate without statistics has failed"
    # Only a candidate that is stored costs the encoding of its images.
    files = [
        None if output.images == "none" else encode_image(pixels, output.images)
        for pixels in (batch.source_pixels[row], best.pixels)
    ]
    return NoisePair(
        sample_id=candidate.sample_id,
        prompt=candidate.prompt,
        prompt_id=candidate.prompt_id,
        seed=candidate.seed,
        source_noise=batch.source_noise[row].numpy() if output.source_noise else None,
        golden_noise=best.golden_noise.numpy(),
        source_rewards=dict(best.judged.source_rewards),
        golden_rewards=dict(best.judged.golden_rewards),
        noise_stats=best.judged.noise_stats,
        source_image=files[0],
        golden_image=files[1],
    )
