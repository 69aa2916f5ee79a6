"""What scores say of a candidate: whether its golden image wins, and by how much.

Pure arithmetic over the rewards that select. With gain g = golden − source, margin m and weight w
of each, the golden image wins by the rule

    all            if g > m under every reward
    weighted_sum   if Σ w·g > Σ w·m
    majority       if g > m under more than half of them: a reward is a vote, whatever its weight

and the *merit* of an image is Σ w·g under every rule: it orders several images of one candidate.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pipeline.plan import Plan
from pipeline.records import RuleName

Scores = Mapping[str, float | None]
"""Of one image, by reward; None where none could be given."""


@dataclass(frozen=True, kw_only=True)
class ScoreRule:
    """How the rewards that select decide together; margins and weights are by their names."""

    name: RuleName = "all"
    margins: Mapping[str, float]
    """How much better the golden image must be."""
    weights: Mapping[str, float]
    """What a gain counts where gains are added; more than 0."""

    @classmethod
    def of(cls, plan: Plan, margins: Mapping[str, float] | None = None) -> "ScoreRule":
        """The rule of a plan, with its own margins or with others."""
        return cls(
            name=plan.rule,
            margins=plan.margins if margins is None else margins,
            weights=plan.weights,
        )

    def missing(self, source: Scores, golden: Scores) -> str | None:
        """The first reward that selects and has not scored both images, if there is one."""
        return next((n for n in self.margins if source[n] is None or golden[n] is None), None)

    def objection(self, source: Scores, golden: Scores) -> str | None:
        """Why the golden image does not win, or None if it does; no score may be missing."""
        # Sums in place of differences: what is compared is what the scores themselves round to.
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
        """Σ w·(golden − source); no score may be missing."""
        pairs = self._pairs(source, golden)
        return sum(self.weights[name] * (better - before) for name, before, better in pairs)

    def _pairs(self, source: Scores, golden: Scores) -> Iterator[tuple[str, float, float]]:
        for name in self.margins:
            before, better = source[name], golden[name]
            assert before is not None and better is not None, "asked for with missing()"
            yield name, before, better
