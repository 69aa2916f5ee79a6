"""Counts of a running build, which the driver and its parts keep up to date.

Whoever reports them (metrics, a log line) reads plain numbers. The driver does not know the reader.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import monotonic

from pipeline.cluster.keep_rate import KeepRate
from pipeline.cluster.messages import GainSums, UnitSummary
from pipeline.core.records import Status
from pipeline.storage.receipts import Commit


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

    def add(self, summary: UnitSummary) -> None:
        """Add a unit that is done."""
        self.done += 1
        self.last_commit = monotonic()
        self.candidates[Status.KEPT, ""] += summary.kept
        for (status, reason), count in summary.reasons.items():
            self.candidates[status, reason] += count
        for key, sums in summary.gains.items():
            self.gains[key] = self.gains.get(key, GainSums()) + sums
        self.keep_rate.add(summary.kept, summary.candidates)
        self.forward_evaluations += summary.forward_evaluations
        self.count_commit(summary.commit)

    def count_commit(self, commit: Commit) -> None:
        """Count a disagreement. Also called for the second attempt at a unit that is done."""
        self.disagreements += commit is Commit.DIFFERENT
