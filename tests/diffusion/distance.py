"""Relative distance of latents from the expected ones. B batch."""

from torch import Tensor


def relative_errors(actual: Tensor, expected: Tensor) -> Tensor:
    """‖actual - expected‖ / ‖expected‖ of each sample, (B,)."""
    error, size = (actual - expected).flatten(1), expected.flatten(1)
    ratios: Tensor = error.norm(dim=1) / size.norm(dim=1)
    return ratios
