"""Counts of a running build, which the driver and its parts keep up to date.

Whoever reports them (metrics, a log line) reads plain numbers. The driver does not know the reader.
"""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import sqrt
from time import monotonic

from pipeline.core.records import Status
from pipeline.monitor.unit_summary import GainSums, UnitSummary
from pipeline.storage.receipts import Commit
from pipeline.storage.worker_sums import MAX_WORKERS, WorkerSums

_RECENT = 20
"""Number of latest units that are compared with all units before them."""
_LEAST_BEFORE = 30

_DEVIATIONS = 5.0
"""Standard errors that count as drift. A build of 100,000 units makes 5,000 tests, and this leaves
them together a chance of about 1 in 300 for a false alarm."""

_LEAST_CHANGE = 0.02
"""Change of the rate that matters. Units that keep all or nothing have no variance to test with."""


@dataclass(frozen=True, kw_only=True)
class Drift:
    """Keep rate of the latest units that differs from that before."""

    recent: float
    before: float
    low: float
    """Lower end of the interval in which ``recent`` was expected."""
    high: float


class KeepRate:
    """Share of the judged candidates that are kept, by unit, in constant memory.

    Units are compared, and not candidates, because candidates of one prompt are alike.
    """

    def __init__(self) -> None:
        self.drift: Drift | None = None
        """Result of the last test; each uses new units. None if the rate has not changed."""
        self._recent: deque[float] = deque()
        self._count = 0
        self._mean = 0.0
        self._squares = 0.0
        """Sum of squared deviations from the mean, by Welford's method."""

    def add(self, kept: int, judged: int) -> None:
        """Add a unit that is done, unless none of its candidates were judged."""
        if not judged:
            return
        self._recent.append(kept / judged)
        if len(self._recent) == _RECENT:
            self.drift = self._test()
            for share in self._recent:
                self._count += 1
                difference = share - self._mean
                self._mean += difference / self._count
                self._squares += difference * (share - self._mean)
            self._recent.clear()

    def _test(self) -> Drift | None:
        if self._count < _LEAST_BEFORE:
            return None
        variance = self._squares / (self._count - 1)
        half = _DEVIATIONS * sqrt(variance * (1 / self._count + 1 / len(self._recent)))
        half = max(half, _LEAST_CHANGE)
        recent = sum(self._recent) / len(self._recent)
        low, high = max(0.0, self._mean - half), min(1.0, self._mean + half)
        if low <= recent <= high:
            return None
        return Drift(recent=recent, before=self._mean, low=low, high=high)


@dataclass(kw_only=True)
class BuildProgress:
    """Counts of one run of the driver, from its start.

    The driver's thread writes; other threads may read.
    """

    total: int = 0
    """Number of units of the plan."""
    done: int = 0
    """Number of units with a receipt, including those of earlier runs."""
    computing: bool = True
    """False once every unit is done or the driver has stopped."""
    running: int = 0
    """Number of units on workers."""
    retries: int = 0
    """Number of units that wait for another attempt."""
    workers: Mapping[str, int] = field(default_factory=dict)
    """Maps each state of a worker (waiting, loading, ready, leaving) to their number."""
    progressed_at: float | None = None
    """Time of the last step of the busy worker that stands still longest; None without one."""
    last_commit: float = field(default_factory=monotonic)
    """Time at which the last unit was done; at first, the start."""
    candidates: Counter[tuple[Status, str]] = field(default_factory=Counter)
    """Number of candidates by status and reason; the reason of kept ones is empty."""
    gains: dict[tuple[str, Status], GainSums] = field(default_factory=dict)
    """Maps reward and status to the sums over the candidates of finished units."""
    forward_evaluations: int = 0
    disagreements: int = 0
    failed_attempts: Counter[str] = field(default_factory=Counter)
    """Number of failed attempts by kind of fault."""
    failures_in_a_row: int = 0
    """Number of failed attempts since a unit was last done."""
    keep_rate: KeepRate = field(default_factory=KeepRate)
    """Share of kept candidates in the latest units and before."""
    replaced: Counter[str] = field(default_factory=Counter)
    """Number of replaced workers by reason."""
    bisections: int = 0
    late: int = 0
    """Number of late units that were also sent to a second worker."""
    worker_seconds: float = 0.0
    """Seconds for which workers held their resources, summed over workers."""
    by_worker: dict[str, WorkerSums] = field(default_factory=dict)
    """Maps the names of workers to the sums over the units that they have committed."""

    def add(self, summary: UnitSummary) -> None:
        """Add a unit that is done."""
        self.done += 1
        self.last_commit = monotonic()
        self.candidates[Status.KEPT, ""] += summary.kept
        for (status, reason), count in summary.reasons.items():
            self.candidates[status, reason] += count
        for key, sums in summary.gains.items():
            self.gains[key] = self.gains.get(key, GainSums()) + sums
        self.keep_rate.add(summary.kept, summary.judged)
        self.forward_evaluations += summary.forward_evaluations
        self.count_commit(summary.commit)
        # A unit that another attempt has committed is among the sums of that attempt.
        if summary.commit is Commit.MINE:
            self._add_to_worker(summary)

    def count_commit(self, commit: Commit) -> None:
        """Count a disagreement. Also called for the second attempt at a unit that is done."""
        self.disagreements += commit is Commit.DIFFERENT

    def _add_to_worker(self, summary: UnitSummary) -> None:
        is_named = summary.worker in self.by_worker or len(self.by_worker) < MAX_WORKERS
        name = summary.worker if is_named else ""
        sums = WorkerSums(
            worker=name,
            host=summary.host[:255] if is_named else "",
            device=summary.device[:255] if is_named else "",
            units=1,
            candidates=summary.candidates,
            judged=summary.judged,
            kept=summary.kept,
            compute_seconds=summary.compute_seconds,
            stage_seconds=dict(summary.stage_seconds),
        )
        self.by_worker[name] = self.by_worker[name] + sums if name in self.by_worker else sums
