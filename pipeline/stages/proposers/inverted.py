"""What proposers that end on a way up to noise have in common."""

from pipeline.diffusion.redenoise import Redenoised
from pipeline.stages.propose import ProposedNoise


def proposed(result: Redenoised, *, down: int, up: int) -> ProposedNoise:
    """The golden noise of a result; ``down`` is what all steps down took, ``up`` an iteration."""
    return ProposedNoise(
        golden_noise=result.golden_noise,
        forward_evaluations=tuple(down + up * count for count in result.iterations.tolist()),
        converged=tuple(result.converged.tolist()),
    )
