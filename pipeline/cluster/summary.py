"""Messages from workers to the driver: unit summaries and health-check answers."""

from dataclasses import dataclass

from pipeline.storage.receipts import Commit


@dataclass(frozen=True, kw_only=True)
class UnitSummary:
    """Counts of one finished unit. Latents never pass through the driver."""

    unit: int
    candidates: int
    kept: int
    rejected: int
    failed: int
    compute_seconds: float
    commit: Commit


@dataclass(frozen=True, kw_only=True)
class Sign:
    """Answer of a worker to a health check."""

    count: int
    """Number of steps so far. An unchanged count means that the work does not progress."""
    leaving: bool
    """True if the worker accepts no more units, after a call of the driver or a signal."""
    node: str
    """Ray's id of the machine."""
