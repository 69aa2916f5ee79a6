"""What comes back from workers: a few counts a unit, and signs of life."""

from dataclasses import dataclass

from pipeline.storage.receipts import Commit


@dataclass(frozen=True, kw_only=True)
class UnitSummary:
    """The few numbers that travel back to the driver; latents never do."""

    unit: int
    candidates: int
    kept: int
    rejected: int
    failed: int
    compute_seconds: float
    commit: Commit


@dataclass(frozen=True, kw_only=True)
class Sign:
    """A sign of life."""

    count: int
    """Steps of work so far; the same as before means that nothing has moved."""
    leaving: bool
    """It takes no more units, whoever told it."""
    node: str
    """Ray's id of the machine."""
