"""Decision to keep, reject or fail a candidate, from numbers alone.

Reasons, in the order of the checks:

    failed    noise:not_finite           the golden noise holds NaN or infinity
              image:not_finite           one of the two images holds NaN or infinity
              reward:<name>:no_score     a selecting reward returned no score
    rejected  inversion:not_converged    exact inversion did not reach its tolerance
              gate:norm, gate:kurtosis   the golden noise does not look Gaussian
              reward:<name>              the golden image is not better by more than the margin
              selection:weighted_sum,    the rewards together do not prefer it
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
    """Measurements of a candidate that decide its status."""

    noise_stats: NoiseStats | None
    """Statistics of the golden noise, or None if it is not finite."""
    converged: bool
    images_finite: bool
    source_rewards: Mapping[str, float | None]
    golden_rewards: Mapping[str, float | None]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Selection rules of a plan: the score rule and the gate."""

    rule: ScoreRule
    gate: GateConfig
    num_values: int
    """Number of values in one noise (D)."""

    def decide(self, judged: Judged) -> tuple[Status, str | None]:
        """Return the status and the reason of one candidate. The reason is None if it is kept."""
        if reason := self._failure(judged):
            return Status.FAILED, reason
        if reason := self._gate_reason(judged) or self._margin_reason(judged):
            return Status.REJECTED, reason
        return Status.KEPT, None

    def preference(self, judged: Judged) -> tuple[int, float]:
        """Return a sort key for the golden noises of one candidate; the greatest is the best.

        Kept noises come first. Noises that only their scores reject come second, because other
        margins could keep them. Noises rejected whatever they score come third, failed ones
        last. Equal ranks are ordered by ``ScoreRule.merit``.
        """
        if self._failure(judged):
            return 0, 0.0
        reference = 1 if self._gate_reason(judged) else 2 if self._margin_reason(judged) else 3
        return reference, self.rule.merit(judged.source_rewards, judged.golden_rewards)

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
    """Return the reason why a golden noise does not look Gaussian, or None if it does.

    For D Gaussian values, ‖x‖/√D has a standard error of 1/√(2D) around 1. The excess kurtosis has
    a standard error of √(24/D) around 0. The limits of the gate count in these standard errors.
    """
    norm = sqrt(stats.mean**2 + stats.std**2)
    if abs(norm - 1) * sqrt(2 * num_values) > gate.max_norm_deviation:
        return "gate:norm"
    if abs(stats.kurtosis) / sqrt(24 / num_values) > gate.max_kurtosis_deviation:
        return "gate:kurtosis"
    return None
