"""Record of a build, read from the receipts of its units: times, machines, failures and scores.

The receipts hold the times and machines of units, and the reasons of failures.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

import numpy as np

from pipeline.config.plan import Plan
from pipeline.core.errors import AccessDeniedError, ObjectNotFoundError, VerificationError
from pipeline.core.fingerprint import Fingerprint
from pipeline.core.records import NoiseStats, Outcome, Status
from pipeline.evaluate.compare import Values
from pipeline.evaluate.scores import ScoreTable
from pipeline.stages.select import is_within_gate
from pipeline.storage import layout
from pipeline.storage.formats.prompts import PromptTable
from pipeline.storage.manifest import Funnel, FunnelCount
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.parallel import in_parallel
from pipeline.storage.receipts import Receipt, read_receipt

_THREADS = 16
"""Number of receipts that are read at once."""
_EXAMPLE_CHARACTERS = 300
_NAME_CHARACTERS = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitRun:
    """Run of one unit: where, when, how long, and what came out."""

    host: str
    device: str
    on_gpu: bool
    started: float | None
    """Start in seconds since 1970 UTC, or None if the receipt has no readable time."""
    seconds: float
    """Seconds from the encoding of the first prompt to the last score."""
    candidates: int
    judged: int
    kept: int
    evaluations: int
    """Forward evaluations, each of one latent."""

    @property
    def ended(self) -> float | None:
        """End in seconds since 1970 UTC, or None if the start is unknown."""
        return None if self.started is None else self.started + self.seconds


@dataclass(kw_only=True)
class RunRecord:
    """Record of a build in the receipts of its plan."""

    plan: Plan
    units: list[UnitRun] = field(default_factory=list)
    """Units with a receipt, in their order."""
    failures: Counter[str] = field(default_factory=Counter)
    """Maps each reason of a failure to its number of candidates."""
    examples: dict[str, str] = field(default_factory=dict)
    """Maps each reason to the last line of one error."""
    fingerprints: dict[str, Fingerprint] = field(default_factory=dict)
    latent_shape: tuple[int, ...] = ()
    _funnel: FunnelCount = field(init=False)

    def __post_init__(self) -> None:
        self._funnel = FunnelCount(self.plan)

    def add(self, receipt: Receipt) -> None:
        """Add the receipt of one unit."""
        self.units.append(_unit_run(receipt))
        self._funnel.add(receipt.outcomes)
        self.latent_shape = receipt.latent_shape
        self.fingerprints.setdefault(receipt.fingerprint.model_dump_json(), receipt.fingerprint)
        for outcome in receipt.outcomes:
            if outcome.status is Status.FAILED and outcome.reason is not None:
                self.failures[outcome.reason] += 1
                message = receipt.errors.get(outcome.candidate, "").strip()
                if message:
                    last = message.splitlines()[-1][:_EXAMPLE_CHARACTERS]
                    self.examples.setdefault(outcome.reason, last)

    @property
    def num_units(self) -> int:
        """Number of units of the plan."""
        return self.plan.num_units

    @property
    def funnel(self) -> Funnel:
        """Counts of the candidates of all receipts."""
        return self._funnel.total()

    @property
    def seconds(self) -> float:
        """Seconds of computation, summed over all units."""
        return sum(unit.seconds for unit in self.units)


def receipts_of(store: ObjectStore, plan: Plan, units: Iterable[int]) -> Iterator[Receipt]:
    """Yield the receipts of units in order. Units without one are left out.

    Raises ``VerificationError`` for a receipt that is damaged or has other candidates.
    """
    for receipt in in_parallel(partial(_receipt, store, plan), units, _THREADS):
        if receipt is not None:
            yield receipt


def _receipt(store: ObjectStore, plan: Plan, unit: int) -> Receipt | None:
    try:
        receipt = read_receipt(store, plan.plan_id, unit)
    # Without the permission to list, a missing object looks like a forbidden one.
    except (ObjectNotFoundError, AccessDeniedError):
        return None
    if [each.candidate for each in receipt.outcomes] != list(plan.unit_range(unit)):
        key = layout.receipt_key(plan.plan_id, unit)
        raise VerificationError(f"{store.url}/{key}: its candidates are not those of the unit")
    return receipt


def _unit_run(receipt: Receipt) -> UnitRun:
    return UnitRun(
        host=receipt.host[:_NAME_CHARACTERS],
        device=receipt.fingerprint.device[:_NAME_CHARACTERS],
        on_gpu=receipt.fingerprint.kernels.startswith("cuda"),
        started=_seconds_since_1970(receipt.started),
        # A negative time can only be a wrong clock or a forged receipt.
        seconds=max(receipt.compute_seconds, 0.0),
        candidates=len(receipt.outcomes),
        judged=receipt.num_judged,
        kept=receipt.count(Status.KEPT),
        evaluations=receipt.forward_evaluations,
    )


def _seconds_since_1970(text: str) -> float | None:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    return (time - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()


class ScoreCollector:
    """Scores of the candidates that are done, from receipts. Scores of the others are NaN."""

    def __init__(self, plan: Plan, prompts: PromptTable) -> None:
        self._plan = plan
        self._prompts = prompts
        names = plan.reward_names
        self._source = {name: _missing(plan.num_candidates) for name in names}
        self._golden = {name: _missing(plan.num_candidates) for name in names}
        self._stats = {name: _missing(plan.num_candidates) for name in NoiseStats.model_fields}
        self._kept, self._in_shards, self._sampled, self._within_gate = (
            np.zeros(plan.num_candidates, bool) for _ in range(4)
        )

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """Add the outcomes of one unit."""
        for outcome in outcomes:
            at = outcome.candidate
            self._kept[at] = outcome.status is Status.KEPT
            self._in_shards[at] = outcome.in_shards
            self._sampled[at] = outcome.judged
            self._within_gate[at] = is_within_gate(outcome.status, outcome.reason)
            for column, scores in (
                (self._source, outcome.source_rewards),
                (self._golden, outcome.golden_rewards),
            ):
                for name, values in column.items():
                    score = scores.get(name)
                    values[at] = np.nan if score is None else score
            if outcome.noise_stats is not None:
                for name, values in self._stats.items():
                    values[at] = getattr(outcome.noise_stats, name)

    def table(self) -> ScoreTable:
        """Return the scores of all candidates of the plan."""
        count, seeds = self._plan.num_candidates, self._plan.seeds_per_prompt
        prompt_ids = np.array(self._prompts.table["prompt_id"].to_pylist(), np.str_)
        return ScoreTable(
            sample_ids=np.full(count, ""),
            prompt_ids=np.repeat(prompt_ids, seeds),
            splits=np.repeat(np.array([split.value for split in self._prompts.splits]), seeds),
            kept=self._kept,
            in_shards=self._in_shards,
            sampled=self._sampled,
            within_gate=self._within_gate,
            source={name: _finite(values) for name, values in self._source.items()},
            golden={name: _finite(values) for name, values in self._golden.items()},
            noise_stats={name: _finite(values) for name, values in self._stats.items()},
        )


def _missing(count: int) -> Values:
    return np.full(count, np.nan)


def _finite(values: Values) -> Values:
    """Return the values rounded as a ledger rounds them. Numbers beyond float32 become NaN."""
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float32).astype(np.float64)
    return np.where(np.isfinite(rounded), rounded, np.nan)
