"""Selection: keep, reject or fail a candidate, and choose its best golden noise, by numbers alone.

Reasons, in the order of the checks:

    failed    noise:not_finite           the golden noise holds NaN or infinity
              image:not_finite           one of the two images holds NaN or infinity
              reward:<name>:no_score     a selecting reward returned no score
    rejected  inversion:not_converged    exact inversion did not reach its tolerance
              gate:norm, gate:kurtosis   the golden noise does not look Gaussian
              reward:<name>              the golden image is not better by more than the margin
              selection:weighted_sum,    the rewards together do not prefer it
              selection:majority         (``ScoreRule``)
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import sqrt

from torch import Tensor

from pipeline.config.plan import Plan
from pipeline.config.sections import GateConfig
from pipeline.core.records import LosingProposal, NoiseStats, RuleName, Status

ImageScores = Mapping[str, float | None]
"""Maps each reward's name to the score of one image, or None if there is no score."""


@dataclass(frozen=True, kw_only=True)
class ScoreRule:
    """Rule that combines the selecting rewards into one decision.

    For each selecting reward, let g = golden − source be the gain, m the margin and w the weight.
    The golden image wins by the rule

        all            if g > m under every reward
        weighted_sum   if Σ w·g > Σ w·m
        majority       if g > m under more than half of the rewards; weights do not count

    The *merit* of an image is Σ w·g under every rule. It orders several images of one candidate.
    """

    name: RuleName = "all"
    margins: Mapping[str, float]
    """Maps each selecting reward to the gain that the golden image must exceed."""
    weights: Mapping[str, float]
    """Maps each selecting reward to the weight of its gain in a sum; greater than 0."""

    @classmethod
    def of(cls, plan: Plan, margins: Mapping[str, float] | None = None) -> "ScoreRule":
        """Create the rule of a plan. ``margins`` replaces the margins of the plan."""
        return cls(
            name=plan.rule,
            margins=plan.margins if margins is None else margins,
            weights=plan.weights,
        )

    def missing(self, source: ImageScores, golden: ImageScores) -> str | None:
        """Return the first selecting reward that lacks a score for either image, or None."""
        return next((n for n in self.margins if source[n] is None or golden[n] is None), None)

    def objection(self, source: ImageScores, golden: ImageScores) -> str | None:
        """Return the reason why the golden image loses, or None if it wins.

        No score may be missing.
        """
        # Compare golden with source + margin, not the gain with the margin. Both sides are then
        # rounded at the precision of the scores.
        rivals = [
            (name, self.weights[name], better, before + self.margins[name])
            for name, before, better in self._pairs(source, golden)
        ]
        lost = [name for name, _, better, needed in rivals if not better > needed]
        match self.name:
            case "all":
                return f"reward:{lost[0]}" if lost else None
            case "weighted_sum":
                wins = sum(w * b for _, w, b, _ in rivals) > sum(w * n for _, w, _, n in rivals)
            case "majority":
                wins = 2 * len(lost) < len(rivals)
        return None if wins else f"selection:{self.name}"

    def merit(self, source: ImageScores, golden: ImageScores) -> float:
        """Return Σ w·(golden − source). No score may be missing."""
        pairs = self._pairs(source, golden)
        return sum(self.weights[name] * (better - before) for name, before, better in pairs)

    def _pairs(
        self, source: ImageScores, golden: ImageScores
    ) -> Iterator[tuple[str, float, float]]:
        for name in self.margins:
            before, better = source[name], golden[name]
            assert before is not None and better is not None, "asked for with missing()"
            yield name, before, better


NOT_FINITE = "noise:not_finite"
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
        if reason := self._gate_reason_of(judged) or self._margin_reason(judged):
            return Status.REJECTED, reason
        return Status.KEPT, None

    def decide_unjudged(
        self, noise_stats: NoiseStats | None, *, converged: bool
    ) -> tuple[Status, str | None]:
        """Return the status and the reason of a candidate without images, by its noise alone.

        ``noise_stats`` is None if the golden noise is not finite.
        """
        if noise_stats is None:
            return Status.FAILED, NOT_FINITE
        if reason := self._gate_reason(noise_stats, converged=converged):
            return Status.REJECTED, reason
        return Status.UNJUDGED, None

    def preference(self, judged: Judged) -> tuple[int, float]:
        """Return a sort key for the golden noises of one candidate; the greatest is the best.

        Kept noises come first. Noises that only their scores reject come second, because other
        margins could keep them. Noises that the gate rejects come third, failed ones last.
        Equal ranks are ordered by ``ScoreRule.merit``.
        """
        if self._failure(judged):
            return 0, 0.0
        reference = 1 if self._gate_reason_of(judged) else 2 if self._margin_reason(judged) else 3
        return reference, self.rule.merit(judged.source_rewards, judged.golden_rewards)

    def _failure(self, judged: Judged) -> str | None:
        if judged.noise_stats is None:
            return NOT_FINITE
        if not judged.images_finite:
            return "image:not_finite"
        if name := self.rule.missing(judged.source_rewards, judged.golden_rewards):
            return f"reward:{name}:no_score"
        return None

    def _gate_reason_of(self, judged: Judged) -> str | None:
        assert judged.noise_stats is not None
        return self._gate_reason(judged.noise_stats, converged=judged.converged)

    def _gate_reason(self, stats: NoiseStats, *, converged: bool) -> str | None:
        return gate_reason(stats, self.num_values, self.gate) if converged else NOT_CONVERGED

    def _margin_reason(self, judged: Judged) -> str | None:
        return self.rule.objection(judged.source_rewards, judged.golden_rewards)


def is_within_gate(status: str, reason: str | None) -> bool:
    """Return True if a golden noise is within the gate, whatever its image scores."""
    if status == Status.REJECTED:
        return not (reason or "").startswith(("gate:", NOT_CONVERGED))
    return status != Status.FAILED


def gate_reason(stats: NoiseStats, num_values: int, gate: GateConfig) -> str | None:
    """Return the reason why a golden noise does not look Gaussian, or None if it does.

    For D Gaussian values, ‖x‖/√D has a standard error of 1/√(2D) around 1. The excess kurtosis has
    a standard error of √(24/D) around 0. The limits of the gate count in these standard errors.
    """
    # The mean of the squares is ‖x‖²/D, so no other statistic has to be stored.
    norm = sqrt(stats.mean**2 + stats.std**2)
    if abs(norm - 1) * sqrt(2 * num_values) > gate.max_norm_deviation:
        return "gate:norm"
    if abs(stats.kurtosis) / sqrt(24 / num_values) > gate.max_kurtosis_deviation:
        return "gate:kurtosis"
    return None


@dataclass(frozen=True, kw_only=True)
class ScoredProposal:
    """One golden noise of one candidate with its image, scores and decision."""

    name: str
    golden_noise: Tensor
    """Golden noise in its stored form: float16 (...), on the CPU."""
    pixels: Tensor
    """Golden image: uint8 (H, W, 3), on the CPU."""
    judged: Judged
    status: Status
    reason: str | None
    preference: tuple[int, float]
    """Sort key from ``Selection.preference``; a greater key is better."""
    forward_evaluations: int
    """Number of forward evaluations to make the noise and to sample its image."""

    def loses(self) -> LosingProposal:
        """Return the record that is kept of a golden noise that is not the best."""
        return LosingProposal(
            name=self.name,
            status=self.status,
            reason=self.reason,
            golden_rewards=dict(self.judged.golden_rewards),
            noise_stats=self.judged.noise_stats,
            forward_evaluations=self.forward_evaluations,
        )


@dataclass(frozen=True, kw_only=True)
class BestProposal:
    """Best golden noise of a candidate so far, with records of the others.

    Golden noises are compared one after the other. Only the best so far keeps its noise and its
    image, and the others leave a record. Memory therefore does not grow with their number.
    """

    best: ScoredProposal
    before: tuple[LosingProposal, ...] = ()
    """Records of the golden noises proposed before the best."""
    after: tuple[LosingProposal, ...] = ()
    """Records of the golden noises proposed after the best."""

    def joined_by(self, other: ScoredProposal) -> "BestProposal":
        """Return the result with one more golden noise. The earlier one wins a tie."""
        if other.preference > self.best.preference:
            return BestProposal(best=other, before=(*self.before, self.best.loses(), *self.after))
        return replace(self, after=(*self.after, other.loses()))

    @property
    def losers(self) -> tuple[LosingProposal, ...]:
        """Records of all golden noises except the best, in the order of proposal."""
        return (*self.before, *self.after)

    @property
    def forward_evaluations(self) -> int:
        """Number of forward evaluations for all golden noises and their images."""
        return self.best.forward_evaluations + sum(o.forward_evaluations for o in self.losers)
