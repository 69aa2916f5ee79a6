"""Source noise of each candidate, and the golden noises proposed for it.

Shapes use B for the batch size.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from pipeline.core.entry_point import custom_code
from pipeline.core.errors import UserError
from pipeline.core.records import Candidate
from pipeline.diffusion.denoiser import Denoiser, EncodedPrompts
from pipeline.diffusion.noise import source_noise, stored


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


@dataclass(frozen=True, kw_only=True)
class ProposedNoise:
    """One golden noise for each row of a batch."""

    golden_noise: Tensor
    """Golden noise: float32 (B, ...), on the device of the denoiser."""
    forward_evaluations: tuple[int, ...]
    """Number of forward evaluations for each row, each of one latent."""
    converged: tuple[bool, ...]
    """For each row, True if its golden noise can be trusted."""

    @classmethod
    def alike(cls, golden_noise: Tensor, forward_evaluations: int) -> Self:
        """Create converged golden noise with the same number of evaluations for every row."""
        rows = len(golden_noise)
        return cls(
            golden_noise=golden_noise,
            forward_evaluations=(forward_evaluations,) * rows,
            converged=(True,) * rows,
        )


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
        with custom_code(f"proposer {name!r}"):
            made = proposer.propose(denoiser, prompts.copy(), source.copy())
        if not isinstance(made, Sequence):
            raise UserError(
                f"proposer {name!r}: propose returned {type(made).__name__}; it must return a list "
                "of ProposedNoise (docs/proposers.md)"
            )
        if len(made) != proposer.proposals:
            raise UserError(
                f"proposer {name!r}: made {len(made)} noises for a candidate; its attribute "
                f"`proposals` is {proposer.proposals}"
            )
        spent = torch.zeros(len(source.noise), dtype=torch.long)
        # A row may stay below its limit in each noise and exceed it in total, so add them up.
        for index, each in enumerate(made):
            proposed = _checked(name, each, source.noise)
            spent += torch.tensor(proposed.forward_evaluations)
            if int(spent.max()) > proposer.evaluations:
                raise UserError(
                    f"proposer {name!r}: took {int(spent.max())} forward evaluations for a "
                    f"candidate; its attribute `evaluations` is {proposer.evaluations}"
                )
            yield (name if proposer.proposals == 1 else f"{name}/{index}"), proposed


def _checked(name: str, proposed: Any, source_noise: Tensor) -> ProposedNoise:
    """Check the result of the proposer ``name`` and return a copy of it.

    The copy is float32, on the device of ``source_noise``. Non-finite noise passes this check,
    because it fails only its candidate and not the build.

    Raises ``UserError`` for a wrong type or shape.
    """
    if not isinstance(proposed, ProposedNoise):
        raise UserError(
            f"proposer {name!r}: returned {type(proposed).__name__} in its list; each golden noise "
            "must be a ProposedNoise (docs/proposers.md)"
        )
    golden: object = proposed.golden_noise
    if not isinstance(golden, Tensor) or not golden.is_floating_point():
        found = golden.dtype if isinstance(golden, Tensor) else type(golden).__name__
        raise UserError(
            f"proposer {name!r}: its golden noise is {found}; it must be a tensor of float32"
        )
    evaluations = _column(name, "forward_evaluations", proposed.forward_evaluations)
    converged = _column(name, "converged", proposed.converged)
    rows = {len(evaluations), len(converged)}
    if golden.shape != source_noise.shape or rows != {len(source_noise)}:
        raise UserError(
            f"proposer {name!r}: gave golden noise of shape {tuple(golden.shape)} with evaluations "
            f"and convergence of {sorted(rows)} rows; wanted are noises of shape "
            f"{tuple(source_noise.shape)}"
        )
    # A copy, because a custom proposer may keep its tensor and overwrite it in the next batch.
    return ProposedNoise(
        golden_noise=golden.detach().to(source_noise, copy=True),
        forward_evaluations=tuple(evaluations),
        converged=tuple(converged),
    )


def _column(name: str, field: str, values: Any) -> list[Any]:
    """Return one Python number or flag per row, converted from sequences, arrays or tensors."""
    try:
        column = torch.as_tensor(values)
    except (RuntimeError, TypeError, ValueError):
        column = None
    flags = field == "converged"
    if (
        column is None
        or column.ndim != 1
        or (column.dtype == torch.bool) != flags
        or column.is_floating_point()
        or column.is_complex()
        or (not flags and bool((column < 0).any()))
    ):
        kind = "True or False" if flags else "an integer, at least 0,"
        raise UserError(
            f"proposer {name!r}: {field} is {values!r}; it must hold {kind} for each row"
        )
    return list(column.tolist())
