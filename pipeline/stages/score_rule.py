"""Selection rules over the rewards of a candidate's two images.

For each selecting reward, let g = golden − source be the gain, m the margin and w the weight. The
golden image wins by the rule

    all            if g > m under every reward
    weighted_sum   if Σ w·g > Σ w·m
    majority       if g > m under more than half of the rewards; weights do not count

The *merit* of an image is Σ w·g under every rule. It orders several images of one candidate.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pipeline.plan import Plan
from pipeline.records import RuleName

Scores = Mapping[str, float | None]
"""Maps each reward's name to the score of one image, or None if there is no score."""


@dataclass(frozen=True, kw_only=True)
class ScoreRule:
    """Rule that combines the selecting rewards into one decision."""

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

    def missing(self, source: Scores, golden: Scores) -> str | None:
        """Return the first selecting reward that lacks a score for either image, or None."""
        return next((n for n in self.margins if source[n] is None or golden[n] is None), None)

    def objection(self, source: Scores, golden: Scores) -> str | None:
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

    def merit(self, source: Scores, golden: Scores) -> float:
        """Return Σ w·(golden − source). No score may be missing."""
        pairs = self._pairs(source, golden)
        return sum(self.weights[name] * (better - before) for name, before, better in pairs)

    def _pairs(self, source: Scores, golden: Scores) -> Iterator[tuple[str, float, float]]:
        for name in self.margins:
            before, better = source[name], golden[name]
            assert before is not None and better is not None, "asked for with missing()"
            yield name, before, better
