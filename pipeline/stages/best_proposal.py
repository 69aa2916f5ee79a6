"""The golden noises of one candidate against each other: the best stays, the others leave a record.

They come one after the other, and only the best so far keeps its noise and its image, so memory
does not grow with their number.
"""

from dataclasses import dataclass, replace

from torch import Tensor

from pipeline.records import LosingProposal, Status
from pipeline.stages.select import Judged


@dataclass(frozen=True, kw_only=True)
class ScoredProposal:
    """One golden noise of one candidate, with all that is known of it."""

    name: str
    golden_noise: Tensor
    """As it is stored, float16 (...), on the CPU."""
    pixels: Tensor
    """Its image, uint8 (H, W, 3), on the CPU."""
    judged: Judged
    status: Status
    reason: str | None
    preference: tuple[int, float]
    """The greater, the better (``Selection.preference``)."""
    forward_evaluations: int
    """To make it and to sample its image."""

    def loses(self) -> LosingProposal:
        """What is kept of it."""
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
    """What became of a candidate's golden noises so far."""

    best: ScoredProposal
    before: tuple[LosingProposal, ...] = ()
    """Those that came before the best."""
    after: tuple[LosingProposal, ...] = ()

    def joined_by(self, other: ScoredProposal) -> "BestProposal":
        """The contest with one more; among equals the first is the best."""
        if other.preference > self.best.preference:
            return BestProposal(best=other, before=(*self.before, self.best.loses(), *self.after))
        return replace(self, after=(*self.after, other.loses()))

    @property
    def losers(self) -> tuple[LosingProposal, ...]:
        """All but the best, in the order in which they came."""
        return (*self.before, *self.after)

    @property
    def forward_evaluations(self) -> int:
        """Of all golden noises and their images."""
        return self.best.forward_evaluations + sum(o.forward_evaluations for o in self.losers)
