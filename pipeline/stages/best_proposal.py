"""Choice of the best golden noise of one candidate.

Golden noises are compared one after the other. Only the best so far keeps its noise and its image,
and the others leave a record. Memory therefore does not grow with their number.
"""

from dataclasses import dataclass, replace

from torch import Tensor

from pipeline.records import LosingProposal, Status
from pipeline.stages.select import Judged


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
    """Best golden noise of a candidate so far, with records of the others."""

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
