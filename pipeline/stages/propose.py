"""Source noise of each candidate, and the golden noises proposed for it. B batch."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from pipeline.determinism import settings_kept
from pipeline.diffusion.denoiser import Denoiser, EncodedPrompts
from pipeline.diffusion.noise import source_noise, stored
from pipeline.errors import UserError
from pipeline.records import Candidate
from pipeline.stages.proposed_noise import ProposedNoise, checked

# ``ProposedNoise`` is what a proposer of a user's own imports from here (docs/proposers.md).
__all__ = ["ProposedNoise", "Proposer", "Source", "draw_source_noise", "propose"]


@dataclass(frozen=True, kw_only=True)
class Source:
    """What the golden noises of a batch are made from."""

    noise: Tensor
    """The stored source noises, float32 (B, ...), on the denoiser's device."""
    candidates: tuple[Candidate, ...] = ()
    """Whose they are; none in a trial, whose samples are no candidates."""
    latents: Tensor | None = None
    """Clean latents of the source images, shaped like ``noise``: a build samples each source image
    once, before anything is proposed. None in a trial."""

    def copy(self) -> "Source":
        """The same source in memory of its own."""
        latents = None if self.latents is None else self.latents.clone()
        return Source(noise=self.noise.clone(), candidates=self.candidates, latents=latents)


class Proposer(Protocol):
    """A way from source noise to golden noise."""

    @property
    def proposals(self) -> int:
        """Golden noises for one candidate."""
        ...

    @property
    def evaluations(self) -> int:
        """Forward evaluations for all golden noises of one candidate, at most; images apart."""
        ...

    def propose(
        self, denoiser: Denoiser, prompts: EncodedPrompts, source: Source
    ) -> Sequence[ProposedNoise]:
        """``proposals`` golden noises for each row of ``source``.

        A row's results depend on its own noise, prompt and candidate alone.
        """
        ...


def draw_source_noise(candidates: Sequence[Candidate], latent_shape: Sequence[int]) -> Tensor:
    """The stored source noises of some candidates, float16 (B, ...) on the CPU."""
    return torch.stack([stored(source_noise(c.seed, latent_shape)) for c in candidates])


def propose(
    proposers: Mapping[str, Proposer],
    denoiser: Denoiser,
    prompts: EncodedPrompts,
    source: Source,
) -> Iterator[tuple[str, ProposedNoise]]:
    """Every golden noise of every proposer, each with its name.

    It is the proposer's name, with /0, /1 … behind it where that makes several. Every proposer
    receives copies of ``prompts`` and ``source``, and its results are copied, so that a proposer
    that writes into tensors changes nothing but its own results. Raises ``UserError`` for a
    proposer that returns something else than it promises.
    """
    for name, proposer in proposers.items():
        with settings_kept():
            made = proposer.propose(denoiser, prompts.copy(), source.copy())
        if not isinstance(made, Sequence):
            raise UserError(
                f"proposer {name!r}: propose returned {type(made).__name__}; it must return a list "
                "of ProposedNoise (docs/proposers.md)"
            )
        if len(made) != proposer.proposals:
            raise UserError(
                f"proposer {name!r}: made {len(made)} noises for a candidate; its attribute "
                f"`proposals` says {proposer.proposals}"
            )
        spent = torch.zeros(len(source.noise), dtype=torch.long)
        for index, each in enumerate(made):
            proposed = checked(name, each, source.noise)
            spent += torch.tensor(proposed.forward_evaluations)
            if int(spent.max()) > proposer.evaluations:
                raise UserError(
                    f"proposer {name!r}: took {int(spent.max())} forward evaluations for a "
                    f"candidate; its attribute `evaluations` says {proposer.evaluations} at most"
                )
            yield (name if proposer.proposals == 1 else f"{name}/{index}"), proposed
