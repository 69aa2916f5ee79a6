"""Golden noise from a trained noise prompt network. B batch."""

from dataclasses import dataclass

from torch import Tensor

from pipeline.models.denoiser import Denoiser, EncodedPrompts
from pipeline.npnet import NPNet
from pipeline.stages.propose import ProposedNoise


@dataclass(frozen=True, kw_only=True)
class NetworkProposer:
    """Applies a noise prompt network, once or several times.

    A round counts as one forward evaluation of the denoiser. That is more than it costs: the
    network is far smaller, and runs without guidance.
    """

    network: NPNet
    rounds: int

    @property
    def evaluations(self) -> int:
        """Forward evaluations for one candidate."""
        return self.rounds

    def propose(
        self, denoiser: Denoiser, prompts: EncodedPrompts, source_noise: Tensor
    ) -> ProposedNoise:
        """Golden noise for each row of ``source_noise``, float32 (B, C, H, W).

        Raises ``ModelError`` if the network is of another diffusion model.
        """
        golden = source_noise
        embeds = prompts.conditional.tensors["encoder_hidden_states"]
        for _ in range(self.rounds):
            golden = self.network(golden, embeds)
        return ProposedNoise(
            golden_noise=golden,
            converged=(True,) * len(source_noise),
            forward_evaluations=self.rounds * len(source_noise),
        )
