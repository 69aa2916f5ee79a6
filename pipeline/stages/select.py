"""Which candidates are kept: a decision over numbers alone.

Reasons, in the order in which they are looked for:

    failed    noise:not_finite           the golden noise holds NaN or infinity
              image:not_finite           one of the two images does
              reward:<name>:no_score     a reward that selects gave no score
    rejected  inversion:not_converged    exact inversion did not reach its tolerance
              gate:norm, gate:kurtosis   the golden noise does not look Gaussian
              reward:<name>              the golden image is not better by more than the margin
              selection:weighted_sum,    the rewards together do not find it better
              selection:majority         (``score_rule``)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

from pipeline.config.sections import GateConfig
from pipeline.records import NoiseStats, Status
from pipeline.stages.score_rule import ScoreRule

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

    rule: ScoreRule
    gate: GateConfig
    num_values: int
    """D, values in one noise."""

    def decide(self, judged: Judged) -> tuple[Status, str | None]:
        """Status and reason of one candidate; the reason is None if it is kept."""
        if reason := self._failure(judged):
            return Status.FAILED, reason
        if reason := self._gate_reason(judged) or self._margin_reason(judged):
            return Status.REJECTED, reason
        return Status.KEPT, None

    def preference(self, judged: Judged) -> tuple[int, float]:
        """Orders what was made for one candidate: the best is the greatest.

        First what is kept; then what only its scores reject, which other margins could keep; then
        what is rejected whatever it scores; then what failed. Among equals the merit decides
        (``ScoreRule.merit``).
        """
        if self._failure(judged):
            return 0, 0.0
        standing = 1 if self._gate_reason(judged) else 2 if self._margin_reason(judged) else 3
        return standing, self.rule.merit(judged.source_rewards, judged.golden_rewards)

    def _failure(self, judged: Judged) -> str | None:
        if judged.noise_stats is None:
            return "noise:not_finite"
        if not judged.images_finite:
            return "image:not_finite"
        if name := self.rule.missing(judged.source_rewards, judged.golden_rewards):
            return f"reward:{name}:no_score"
        return None

    def _gate_reason(self, judged: Judged) -> str | None:
        if not judged.converged:
            return NOT_CONVERGED
        assert judged.noise_stats is not None
        return gate_reason(judged.noise_stats, self.num_values, self.gate)

    def _margin_reason(self, judged: Judged) -> str | None:
        return self.rule.objection(judged.source_rewards, judged.golden_rewards)


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
