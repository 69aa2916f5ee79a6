"""One unit, from candidates to packed pairs: every stage in the order of the data.

It knows nothing of Ray and of storage; a bare loop over it gives the same bytes as a cluster.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from pipeline.config.sections import OutputConfig
from pipeline.diffusion.denoiser import Denoiser, EncodedPrompts
from pipeline.models.reward import Reward
from pipeline.records import Candidate, Outcome, Status
from pipeline.stages.batch import Models, ProducedBatch, produce_batch
from pipeline.stages.build_spec import BuildSpec
from pipeline.stages.pack import pack_pairs
from pipeline.stages.propose import Proposer
from pipeline.stages.sample import encode_image
from pipeline.storage.schema import NoisePair, PairSchema


@dataclass(frozen=True, kw_only=True)
class ProducedUnit:
    """What a unit came to."""

    outcomes: tuple[Outcome, ...]
    data: bytes
    """Arrow IPC file of the stored pairs, in the order of the outcomes."""
    forward_evaluations: int
    """Of one latent each, summed over the candidates."""


def produce_unit(
    candidates: Sequence[Candidate],
    denoiser: Denoiser,
    rewards: Mapping[str, Reward],
    spec: BuildSpec,
    skipped: Mapping[int, str] | None = None,
    loaded: Mapping[str, Proposer] | None = None,
) -> ProducedUnit:
    """Compute one unit, always in the same batches.

    ``loaded`` are the spec's proposers that come from files, by name.

    ``skipped`` maps positions in ``candidates`` that are not computed to the reason why their
    candidate failed. They are padded, so that every batch keeps its shape and the other candidates
    keep their bytes. A batch without any other candidate is left out, unless the whole unit is
    skipped: the unit then shows whether something else than a candidate is at fault.
    """
    skipped = skipped or {}
    proposers = {**spec.proposers, **(loaded or {})}
    models = Models(denoiser=denoiser, rewards=rewards, proposers=proposers)
    made: list[_Made] = []
    with torch.inference_mode():
        encoded = _encode_once(denoiser, candidates, skipped)
        for rows in _batches(len(candidates), spec.batch_size):
            of_batch = [candidates[row] for row in rows]
            reasons = {row - rows.start: skipped[row] for row in rows if row in skipped}
            if len(reasons) == len(rows) and len(skipped) < len(candidates):
                made.append(_left_out(of_batch, reasons, rewards))
            else:
                made.append(_make(of_batch, encoded.take(rows), reasons, models, spec))
    pairs = [pair for each in made for pair in each.pairs]
    schema = PairSchema(latent_shape=denoiser.latent_shape, reward_names=tuple(rewards))
    return ProducedUnit(
        outcomes=tuple(outcome for each in made for outcome in each.outcomes),
        data=pack_pairs(pairs, schema, spec.output.rows_per_batch),
        forward_evaluations=sum(each.forward_evaluations for each in made),
    )


@dataclass(frozen=True, kw_only=True)
class _Made:
    """What a batch of a unit came to."""

    outcomes: list[Outcome]
    pairs: list[NoisePair]
    forward_evaluations: int


def _left_out(
    candidates: Sequence[Candidate], skipped: Mapping[int, str], rewards: Iterable[str]
) -> _Made:
    failed = [_failed(candidate, skipped[row], rewards) for row, candidate in enumerate(candidates)]
    return _Made(outcomes=failed, pairs=[], forward_evaluations=0)


def _make(
    candidates: Sequence[Candidate],
    encoded: EncodedPrompts,
    skipped: Mapping[int, str],
    models: Models,
    spec: BuildSpec,
) -> _Made:
    computed = [_padding(one) if row in skipped else one for row, one in enumerate(candidates)]
    batch = produce_batch(computed, encoded, models, spec)
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
    """Encode each distinct prompt once and lay the results out by candidate.

    The text encoder receives the same number of prompts whatever is skipped. A prompt that only
    skipped candidates have is replaced by the empty prompt.
    """
    prompts = [candidate.prompt for candidate in candidates]
    distinct = list(dict.fromkeys(prompts))
    live = {prompt for position, prompt in enumerate(prompts) if position not in skipped}
    encoded = denoiser.encode_prompts([prompt if prompt in live else "" for prompt in distinct])
    row = {prompt: index for index, prompt in enumerate(distinct)}
    return encoded.take([row[prompt] for prompt in prompts])


def _batches(total: int, size: int) -> Iterator[range]:
    return (range(start, min(start + size, total)) for start in range(0, total, size))


def _padding(candidate: Candidate) -> Candidate:
    """What is computed in a candidate's place: no text and a noise that says nothing."""
    return candidate.model_copy(update={"prompt": "", "seed": 0})


def _failed(candidate: Candidate, reason: str, rewards: Iterable[str]) -> Outcome:
    """The outcome of a candidate that was not computed."""
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
    """The outcome of a candidate: that of its best golden noise, and the pair if it is stored."""
    contest = batch.contests[row]
    best = contest.best
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
        losing_proposals=contest.losers,
    )


def _pairs(
    candidates: Sequence[Candidate],
    batch: ProducedBatch,
    skipped: Mapping[int, str],
    output: OutputConfig,
) -> dict[int, NoisePair]:
    """The rows of a batch that are stored."""
    wanted = {Status.KEPT, Status.REJECTED} if output.store_rejected else {Status.KEPT}
    return {
        row: _pair(candidates[row], batch, row, output)
        for row, contest in enumerate(batch.contests)
        if row not in skipped and contest.best.status in wanted
    }


def _pair(candidate: Candidate, batch: ProducedBatch, row: int, output: OutputConfig) -> NoisePair:
    best = batch.contests[row].best
    assert best.judged.noise_stats is not None, "a candidate without statistics has failed"
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
