"""Source noise of each candidate, and the golden noises proposed for it. B batch."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor

from pipeline.diffusion.noise import source_noise, stored
from pipeline.errors import UserError
from pipeline.models.denoiser import Denoiser, EncodedPrompts
from pipeline.records import Candidate


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


@dataclass(frozen=True, kw_only=True)
class ProposedNoise:
    """One golden noise for each row of a batch."""

    golden_noise: Tensor
    """float32 (B, ...), on the denoiser's device."""
    forward_evaluations: tuple[int, ...]
    """For each row, what it took: of one latent each."""
    converged: tuple[bool, ...]
    """For each row, whether its golden noise can be trusted."""

    @classmethod
    def alike(cls, golden_noise: Tensor, forward_evaluations: int) -> Self:
        """Noises that can all be trusted, and took the same."""
        rows = len(golden_noise)
        return cls(
            golden_noise=golden_noise,
            forward_evaluations=(forward_evaluations,) * rows,
            converged=(True,) * rows,
        )


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

    It is the proposer's name, with /0, /1 … behind it where that makes several. Raises
    ``UserError`` for a proposer that gives something else than it says.
    """
    for name, proposer in proposers.items():
        made = proposer.propose(denoiser, prompts, source)
        if len(made) != proposer.proposals:
            raise UserError(
                f"proposer {name!r}: made {len(made)} noises for a candidate; its attribute "
                f"`proposals` says {proposer.proposals}"
            )
        for index, proposed in enumerate(made):
            _refuse_misfit(name, proposed, source)
            yield (name if proposer.proposals == 1 else f"{name}/{index}"), proposed


def _refuse_misfit(name: str, proposed: ProposedNoise, source: Source) -> None:
    found, wanted = proposed.golden_noise.shape, source.noise.shape
    rows = {len(proposed.forward_evaluations), len(proposed.converged)}
    if found != wanted or rows != {len(source.noise)}:
        raise UserError(
            f"proposer {name!r}: gave golden noise of shape {tuple(found)} with evaluations and "
            f"convergence of {sorted(rows)} rows; wanted are noises of shape {tuple(wanted)}"
        )
