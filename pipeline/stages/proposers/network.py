"""Golden noise from a trained noise prompt network."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from pipeline.diffusion.denoiser import Denoiser, EncodedPrompts
from pipeline.npnet import NPNet
from pipeline.stages.propose import ProposedNoise, Source


@dataclass(frozen=True, kw_only=True)
class NetworkProposer:
    """Applies a noise prompt network, once or several times.

    A round counts as one forward evaluation of the denoiser. That is more than it costs: the
    network is far smaller, and runs without guidance.
    """

    proposals: ClassVar[int] = 1
    network: NPNet
    rounds: int

    @property
    def evaluations(self) -> int:
        """Forward evaluations for one candidate."""
        return self.rounds

    def propose(
        self, denoiser: Denoiser, prompts: EncodedPrompts, source: Source
    ) -> Sequence[ProposedNoise]:
        """Golden noise for each row. Raises ``ModelError`` for a network of another model."""
        golden = source.noise
        for _ in range(self.rounds):
            golden = self.network(golden, prompts.embeds)
        return [ProposedNoise.alike(golden, self.rounds)]
