"""Which candidates are kept: a decision over numbers alone.

Reasons, in the order in which they are looked for:

    failed    noise:not_finite           the golden noise holds NaN or infinity
              image:not_finite           one of the two images does
              reward:<name>:no_score     a reward that selects gave no score
    rejected  inversion:not_converged    exact inversion did not reach its tolerance
              gate:norm, gate:kurtosis   the golden noise does not look Gaussian
              reward:<name>              the golden image is not better by more than the margin
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

from pipeline.config import GateConfig
from pipeline.records import NoiseStats, Status

NOT_CONVERGED = "inversion:not_converged"


@dataclass(frozen=True, kw_only=True)
class Judged:
    """All that is known of a candidate when it is decided upon."""

    noise_stats: NoiseStats | None
    """None where the golden noise is not finite."""
    converged: bool
    images_finite: bool
    source_rewards: Mapping[str, float | None]
    golden_rewards: Mapping[str, float | None]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The rules of a plan."""

    margins: Mapping[str, float]
    """By the name of each reward that selects, how much better the golden image must be."""
    gate: GateConfig
    num_values: int
    """D, values in one noise."""

    def decide(self, judged: Judged) -> tuple[Status, str | None]:
        """Status and reason of one candidate; the reason is None if it is kept."""
        if reason := self._failure(judged):
            return Status.FAILED, reason
        if reason := self._rejection(judged):
            return Status.REJECTED, reason
        return Status.KEPT, None

    def _failure(self, judged: Judged) -> str | None:
        if judged.noise_stats is None:
            return "noise:not_finite"
        if not judged.images_finite:
            return "image:not_finite"
        for name in self.margins:
            if judged.source_rewards[name] is None or judged.golden_rewards[name] is None:
                return f"reward:{name}:no_score"
        return None

    def _rejection(self, judged: Judged) -> str | None:
        if not judged.converged:
            return NOT_CONVERGED
        assert judged.noise_stats is not None
        if reason := gate_reason(judged.noise_stats, self.num_values, self.gate):
            return reason
        for name, margin in self.margins.items():
            source, golden = judged.source_rewards[name], judged.golden_rewards[name]
            assert source is not None and golden is not None
            if not golden > source + margin:
                return f"reward:{name}"
        return None


def gate_reason(stats: NoiseStats, num_values: int, gate: GateConfig) -> str | None:
    """Why a golden noise of D values does not pass for Gaussian, or None.

    For D Gaussian values, ‖x‖/√D has a standard error of 1/√(2D) around 1 and the excess kurtosis
    one of √(24/D) around 0.
    """
    norm = sqrt(stats.mean**2 + stats.std**2)
    if abs(norm - 1) * sqrt(2 * num_values) > gate.max_norm_deviation:
        return "gate:norm"
    if abs(stats.kurtosis) / sqrt(24 / num_values) > gate.max_kurtosis_deviation:
        return "gate:kurtosis"
    return None
