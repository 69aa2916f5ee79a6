"""Outcomes and stored pairs of the candidates of a unit."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

from torch import Tensor

from pipeline.config.sections import OutputConfig
from pipeline.core.records import Candidate, NoiseStats, Outcome, Split, Status
from pipeline.stages.batch import ProducedBatch
from pipeline.stages.sample import encode_image
from pipeline.storage.formats.pairs import NoisePair


@dataclass(frozen=True, kw_only=True)
class Results:
    """Results of some candidates. Keys are rows, which count the candidates of the unit."""

    outcomes: Mapping[int, Outcome]
    pairs: Mapping[int, NoisePair]
    """The pairs that are stored."""
    forward_evaluations: int
    """Number of forward evaluations, those of padding included."""


def judged_results(
    candidates: Mapping[int, Candidate],
    batch: ProducedBatch,
    truncated: Sequence[bool],
    skipped: Mapping[int, str],
    output: OutputConfig,
    *,
    with_judged: bool,
) -> Results:
    """Return the results of a batch whose images were scored.

    Args:
        candidates: The candidates of the batch by row, in its order.
        batch: The batch.
        truncated: For each candidate, True if its prompt was truncated.
        skipped: Maps rows to the reason why that candidate failed. Their place in the batch holds
            padding, whose scores are not recorded.
        output: Content of the stored pairs.
        with_judged: True if the pairs have the column ``judged``.
    """
    wanted = {Status.KEPT, Status.REJECTED} if output.store_rejected else {Status.KEPT}
    pairs = {
        row: _judged_pair(candidate, batch, place, output, with_judged=with_judged)
        for place, (row, candidate) in enumerate(candidates.items())
        if row not in skipped and batch.best[place].best.status in wanted
    }
    outcomes = {
        row: failed(candidate, skipped[row], batch.best[place].best.judged.source_rewards)
        if row in skipped
        else _judged_outcome(candidate, batch, place, pairs.get(row), truncated=truncated[place])
        for place, (row, candidate) in enumerate(candidates.items())
    }
    return Results(outcomes=outcomes, pairs=pairs, forward_evaluations=batch.forward_evaluations)


def failed(
    candidate: Candidate, reason: str, rewards: Iterable[str], *, judged: bool = True
) -> Outcome:
    """Return the outcome of a candidate that was skipped."""
    return Outcome(
        **_identity(candidate),
        status=Status.FAILED,
        reason=reason,
        truncated=False,
        source_rewards=dict.fromkeys(rewards),
        golden_rewards=dict.fromkeys(rewards),
        noise_stats=None,
        num_bytes=0,
        judged=judged,
    )


def unjudged_outcome(
    candidate: Candidate,
    pair: NoisePair | None,
    *,
    status: Status,
    reason: str | None,
    truncated: bool,
    rewards: Iterable[str],
    noise_stats: NoiseStats | None,
    proposal: str,
    forward_evaluations: int,
) -> Outcome:
    """Return the outcome of a candidate whose images were not sampled.

    ``pair`` is None if the pair is not stored.
    """
    return Outcome(
        **_identity(candidate),
        status=status,
        reason=reason,
        truncated=truncated,
        source_rewards=dict.fromkeys(rewards),
        golden_rewards=dict.fromkeys(rewards),
        noise_stats=noise_stats,
        num_bytes=0 if pair is None else pair.num_bytes,
        proposal=proposal,
        forward_evaluations=forward_evaluations,
        judged=False,
    )


def unjudged_pair(
    candidate: Candidate,
    source_noise: Tensor,
    golden_noise: Tensor,
    stats: NoiseStats,
    rewards: Iterable[str],
    output: OutputConfig,
) -> NoisePair:
    """Return a pair without scores and images. Both noises are float16 (...), on the CPU."""
    return NoisePair(
        sample_id=candidate.sample_id,
        prompt=candidate.prompt,
        prompt_id=candidate.prompt_id,
        seed=candidate.seed,
        source_noise=source_noise.numpy() if output.source_noise else None,
        golden_noise=golden_noise.numpy(),
        source_rewards=dict.fromkeys(rewards),
        golden_rewards=dict.fromkeys(rewards),
        noise_stats=stats,
        source_image=None,
        golden_image=None,
        judged=False,
    )


def _judged_outcome(
    candidate: Candidate,
    batch: ProducedBatch,
    place: int,
    pair: NoisePair | None,
    *,
    truncated: bool,
) -> Outcome:
    """Return the outcome of a computed candidate, taken from its best golden noise.

    ``pair`` is None if the pair is not stored.
    """
    proposal = batch.best[place]
    best = proposal.best
    return Outcome(
        **_identity(candidate),
        status=best.status,
        reason=best.reason,
        truncated=truncated,
        source_rewards=dict(best.judged.source_rewards),
        golden_rewards=dict(best.judged.golden_rewards),
        noise_stats=best.judged.noise_stats,
        num_bytes=0 if pair is None else pair.num_bytes,
        proposal=best.name,
        forward_evaluations=batch.candidate_evaluations(place),
        losing_proposals=proposal.losers,
    )


def _judged_pair(
    candidate: Candidate,
    batch: ProducedBatch,
    place: int,
    output: OutputConfig,
    *,
    with_judged: bool,
) -> NoisePair:
    best = batch.best[place].best
    assert best.judged.noise_stats is not None, "a candidate without statistics has failed"
    # Only a candidate that is stored costs the encoding of its images.
    files = [
        None if output.images == "none" else encode_image(pixels, output.images)
        for pixels in (batch.source_pixels[place], best.pixels)
    ]
    return NoisePair(
        sample_id=candidate.sample_id,
        prompt=candidate.prompt,
        prompt_id=candidate.prompt_id,
        seed=candidate.seed,
        source_noise=batch.source_noise[place].numpy() if output.source_noise else None,
        golden_noise=best.golden_noise.numpy(),
        source_rewards=dict(best.judged.source_rewards),
        golden_rewards=dict(best.judged.golden_rewards),
        noise_stats=best.judged.noise_stats,
        source_image=files[0],
        golden_image=files[1],
        judged=True if with_judged else None,
    )


class _Identity(TypedDict):
    candidate: int
    sample_id: str
    prompt_id: str
    split: Split
    seed: int


def _identity(candidate: Candidate) -> _Identity:
    """Return the fields of an outcome that name its candidate."""
    return {
        "candidate": candidate.index,
        "sample_id": candidate.sample_id,
        "prompt_id": candidate.prompt_id,
        "split": candidate.split,
        "seed": candidate.seed,
    }
