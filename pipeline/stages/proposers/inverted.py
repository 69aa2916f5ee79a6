"""Proposed noise of a method that ends with an inversion."""

from pipeline.diffusion.guided_step import InversionResult
from pipeline.stages.propose import ProposedNoise


def proposed(result: InversionResult, *, down: int, up: int) -> ProposedNoise:
    """Return the golden noise of an inversion.

    ``down`` is the number of forward evaluations of all denoising steps. ``up`` is the number for
    one iteration of the inversion.
    """
    return ProposedNoise(
        golden_noise=result.latents,
        forward_evaluations=tuple(down + up * count for count in result.iterations.tolist()),
        converged=tuple(result.converged.tolist()),
    )
