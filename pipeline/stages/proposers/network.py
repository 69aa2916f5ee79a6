"""Golden noise from a trained noise prompt network."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from pipeline.diffusion.denoiser import Denoiser, EncodedPrompts
from pipeline.npnet import NPNet
from pipeline.stages.propose import ProposedNoise, Source


@dataclass(frozen=True, kw_only=True)
class NetworkProposer:
    """Proposer that applies a noise prompt network for one or more rounds.

    A round counts as one forward evaluation of the denoiser. This overstates its cost, because the
    network is far smaller and runs without guidance.
    """

    proposals: ClassVar[int] = 1
    network: NPNet
    rounds: int

    @property
    def evaluations(self) -> int:
        """Number of forward evaluations for one candidate."""
        return self.rounds

    def propose(
        self, denoiser: Denoiser, prompts: EncodedPrompts, source: Source
    ) -> Sequence[ProposedNoise]:
        """Return golden noise for each row.

        Raises ``ModelError`` if the network belongs to another model.
        """
        golden = source.noise
        for _ in range(self.rounds):
            golden = self.network(golden, prompts.embeds)
        return [ProposedNoise.alike(golden, self.rounds)]
