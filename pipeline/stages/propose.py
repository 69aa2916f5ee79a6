"""Source noise of each candidate, and the golden noises proposed for it.

Shapes use B for the batch size.
"""

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

# Custom proposers import ``ProposedNoise`` from here (docs/proposers.md).
__all__ = ["ProposedNoise", "Proposer", "Source", "draw_source_noise", "propose"]


@dataclass(frozen=True, kw_only=True)
class Source:
    """Input of a proposer for one batch."""

    noise: Tensor
    """Stored source noise as float32 (B, ...), on the device of the denoiser."""
    candidates: tuple[Candidate, ...] = ()
    """Candidates of the rows. Empty in a trial, whose samples are not candidates."""
    latents: Tensor | None = None
    """Clean latents of the source images, shaped like ``noise``. None in a trial.

    A build samples each source image once, before it calls the proposers.
    """

    def copy(self) -> "Source":
        """Return a copy that shares no memory with this source."""
        latents = None if self.latents is None else self.latents.clone()
        return Source(noise=self.noise.clone(), candidates=self.candidates, latents=latents)


class Proposer(Protocol):
    """Interface of a method that makes golden noise from source noise."""

    @property
    def proposals(self) -> int:
        """Number of golden noises for one candidate."""
        ...

    @property
    def evaluations(self) -> int:
        """Maximum number of forward evaluations for one candidate, without its images."""
        ...

    def propose(
        self, denoiser: Denoiser, prompts: EncodedPrompts, source: Source
    ) -> Sequence[ProposedNoise]:
        """Return ``proposals`` golden noises for each row of ``source``.

        The results of a row must depend only on its noise, prompt and candidate.
        """
        ...


def draw_source_noise(candidates: Sequence[Candidate], latent_shape: Sequence[int]) -> Tensor:
    """Draw the source noise of each candidate in its stored form: float16 (B, ...), on the CPU."""
    return torch.stack([stored(source_noise(c.seed, latent_shape)) for c in candidates])


def propose(
    proposers: Mapping[str, Proposer],
    denoiser: Denoiser,
    prompts: EncodedPrompts,
    source: Source,
) -> Iterator[tuple[str, ProposedNoise]]:
    """Yield every golden noise of every proposer with its name.

    The name is that of the proposer. A proposer that makes several golden noises gets the suffixes
    ``/0``, ``/1`` and so on. Every proposer receives copies of ``prompts`` and ``source``, and its
    results are copied. A proposer that writes into tensors therefore cannot change the input of
    the others.

    Raises ``UserError`` if a result does not match the attributes of its proposer.
    """
    for name, proposer in proposers.items():
        # A proposer may be custom code: it must not change the torch settings of the next stages.
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
        # A row may stay below its limit in each noise and exceed it in total, so add them up.
        for index, each in enumerate(made):
            proposed = checked(name, each, source.noise)
            spent += torch.tensor(proposed.forward_evaluations)
            if int(spent.max()) > proposer.evaluations:
                raise UserError(
                    f"proposer {name!r}: took {int(spent.max())} forward evaluations for a "
                    f"candidate; its attribute `evaluations` says {proposer.evaluations} at most"
                )
            yield (name if proposer.proposals == 1 else f"{name}/{index}"), proposed
