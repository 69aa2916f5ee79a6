"""A small plan with units that are computed without models.

Plan, prompts, noise, packing and receipts are real. Golden noise, scores and decisions are
synthetic functions of the candidate's position in the plan.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pipeline.config.plan import Plan
from pipeline.config.sections import Config
from pipeline.core.fingerprint import Fingerprint, fingerprint
from pipeline.core.identity import sha256
from pipeline.core.records import Candidate, Outcome, Status
from pipeline.diffusion.noise import noise_stats, source_noise, stored
from pipeline.storage import layout
from pipeline.storage.formats.arrow_shard import pack_pairs
from pipeline.storage.formats.pairs import NoisePair, PairSchema
from pipeline.storage.formats.prompts import PromptTable
from pipeline.storage.receipts import Receipt
from pipeline.workflows.plan import make_plan
from tests.sealed import changed, write_config

SHAPE = (4, 8, 8)
_CPU = torch.device("cpu")

_FIRST_PROMPT = 14
"""Number of the first prompt. From here on three of four prompts are in train, one in test."""

_REASONS = {
    Status.KEPT: None,
    Status.UNJUDGED: None,
    Status.REJECTED: "reward:scene",
    Status.FAILED: "image:not_finite",
}


@dataclass(frozen=True, kw_only=True)
class Unit:
    """Result of a worker for one unit."""

    outcomes: tuple[Outcome, ...]
    data: bytes


@dataclass(frozen=True, kw_only=True)
class StandIn:
    """A plan with all its units."""

    config: Config
    plan: Plan
    prompts: PromptTable
    units: tuple[Unit, ...]
    other_unit_0: Unit
    """Another result for unit 0, as from a computation that is not deterministic."""
    fingerprint: Fingerprint

    def receipt(
        self, unit: int, *, attempt_id: str, host: str, produced: Unit | None = None
    ) -> Receipt:
        """Return the receipt of one attempt. Attempts differ only in fields that are not sealed."""
        made = self.units[unit] if produced is None else produced
        digest = sha256(made.data)
        return Receipt(
            schema_version=self.plan.schema_version,
            plan_id=self.plan.plan_id,
            unit=unit,
            data_key=layout.unit_key(self.plan.plan_id, unit, digest),
            data_sha256=digest,
            data_bytes=len(made.data),
            latent_shape=SHAPE,
            outcomes=made.outcomes,
            forward_evaluations=len(made.outcomes),
            fingerprint=self.fingerprint,
            attempt_id=attempt_id,
            host=host,
            started=f"when {attempt_id} began",
            compute_seconds=float(len(attempt_id)),
        )


def stand_in(
    folder: Path, *, seed: int = 7, num_prompts: int = 4, share: float | None = None
) -> StandIn:
    """Return a plan with two seeds per prompt and units of two.

    ``seed`` changes the plan. With ``share``, only a sample is judged.
    """
    judging: dict[str, Any] = {} if share is None else {"policy": "sample", "share": share}
    settings = changed(
        prompts={"seed": seed},
        units={"size": 2, "batch_size": 2},
        output={"images": "none", "shard_bytes": 2_500, "rows_per_batch": 2},
        judging=judging,
    )
    prompts = [f"prompt {number}" for number in range(_FIRST_PROMPT, _FIRST_PROMPT + num_prompts)]
    config = write_config(folder, settings, prompts=prompts)
    plan, table = make_plan(config)
    units = tuple(produce(plan, table, unit) for unit in range(plan.num_units))
    return StandIn(
        config=config,
        plan=plan,
        prompts=table,
        units=units,
        other_unit_0=produce(plan, table, 0, variant=1),
        fingerprint=fingerprint(_CPU),
    )


def produce(plan: Plan, prompts: PromptTable, unit: int, *, variant: int = 0) -> Unit:
    """Compute one unit. ``variant`` simulates a computation that is not deterministic."""
    schema = PairSchema.of_plan(plan, SHAPE)
    outcomes, pairs = [], []
    for candidate in prompts.candidates(plan, plan.unit_range(unit)):
        pair = _pair(candidate, plan, variant)
        status = _status(candidate) if plan.judges(candidate.sample_id) else Status.UNJUDGED
        if status in (Status.KEPT, Status.UNJUDGED):
            pairs.append(pair)
        outcomes.append(_outcome(candidate, pair, status))
    rows_per_batch = plan.settings.output.rows_per_batch
    return Unit(outcomes=tuple(outcomes), data=pack_pairs(pairs, schema, rows_per_batch))


def _status(candidate: Candidate) -> Status:
    """Return a status. Unit 1 keeps nothing, so that a shard spans the units around it."""
    if candidate.index == 3:
        return Status.FAILED
    return Status.REJECTED if candidate.index in (1, 2, 5, 7) else Status.KEPT


def _pair(candidate: Candidate, plan: Plan, variant: int) -> NoisePair:
    source = source_noise(candidate.seed, SHAPE)
    golden = source * (0.9 - 0.1 * variant)
    stats = noise_stats(source, golden)
    assert stats is not None, "neither is constant"
    judged = plan.judges(candidate.sample_id)
    names = plan.reward_names
    return NoisePair(
        sample_id=candidate.sample_id,
        prompt=candidate.prompt,
        prompt_id=candidate.prompt_id,
        seed=candidate.seed,
        source_noise=stored(source).numpy(),
        golden_noise=stored(golden).numpy(),
        source_rewards=dict.fromkeys(names, -0.5 if judged else None),
        golden_rewards=dict.fromkeys(names, 0.5 + candidate.index if judged else None),
        noise_stats=stats,
        source_image=None,
        golden_image=None,
        judged=None if plan.judges_all else judged,
    )


def _outcome(candidate: Candidate, pair: NoisePair, status: Status) -> Outcome:
    failed = status is Status.FAILED
    nothing = dict.fromkeys(pair.golden_rewards)
    return Outcome(
        candidate=candidate.index,
        sample_id=candidate.sample_id,
        prompt_id=candidate.prompt_id,
        split=candidate.split,
        seed=candidate.seed,
        status=status,
        reason=_REASONS[status],
        truncated=False,
        source_rewards=pair.source_rewards,
        golden_rewards=nothing if failed else pair.golden_rewards,
        noise_stats=None if failed else pair.noise_stats,
        num_bytes=pair.num_bytes if status in (Status.KEPT, Status.UNJUDGED) else 0,
        judged=pair.judged is not False,
    )
