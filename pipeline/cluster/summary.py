"""What travels between driver and workers: unit numbers one way, summaries the other."""

from dataclasses import dataclass

from pipeline.storage.receipts import Commit

UNITS_IN_FLIGHT = 2
"""One computes while the other is packed and uploaded."""


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
