"""Golden noise that a proposer returns, and the checks of it.

Shapes use B for the batch size.
"""

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from pipeline.errors import UserError


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


def checked(name: str, proposed: Any, source_noise: Tensor) -> ProposedNoise:
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
        kind = "True or False" if flags else "a whole number, at least 0,"
        raise UserError(
            f"proposer {name!r}: {field} is {values!r}; it must hold {kind} for each row"
        )
    return list(column.tolist())
