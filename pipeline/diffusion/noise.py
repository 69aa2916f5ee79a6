"""Source noise from a seed, its stored form, and statistics of golden noise."""

from collections.abc import Sequence
from math import isfinite

import torch
from torch import Tensor

from pipeline.core.errors import UserError
from pipeline.core.identity import SEEDS
from pipeline.core.records import NoiseStats


def source_noise(seed: int, shape: Sequence[int]) -> Tensor:
    """Return x_T of one candidate: standard normal, float32, on the CPU, of ``shape`` (no batch).

    It depends only on the seed, not on device, batch or position. Raises ``UserError`` for a seed
    outside 0 … 2**32 - 1, which would share its noise with another seed.
    """
    if not 0 <= seed < SEEDS:
        raise UserError(f"a seed must lie in 0 … {SEEDS - 1}, not {seed}")
    # The generator of a GPU gives other values for the same seed.
    generator = torch.Generator("cpu").manual_seed(seed)
    return torch.randn(tuple(shape), generator=generator, dtype=torch.float32)


def stored(noise: Tensor) -> Tensor:
    """Return the float16 value that the data set stores; beyond ±65504 it is infinite."""
    return noise.to(torch.float16)


def as_model_input(stored_noise: Tensor) -> Tensor:
    """Return stored noise as the sampler receives it: the same values in float32."""
    return stored_noise.to(torch.float32)


def noise_stats(source: Tensor, golden: Tensor) -> NoiseStats | None:
    """Return statistics of one pair (two tensors of one shape, no batch), computed in float64.

    Returns None if a statistic is not finite: the golden noise has NaN or infinity, or is constant.
    """
    if source.shape != golden.shape:
        raise ValueError(f"shapes differ: {tuple(source.shape)} and {tuple(golden.shape)}")
    x = source.detach().cpu().double().flatten()
    y = golden.detach().cpu().double().flatten()
    centred = y - y.mean()
    variance = centred.square().mean()
    figures = {
        "cosine": float(x.dot(y) / (x.norm() * y.norm())),
        "relative_change": float((y - x).norm() / x.norm()),
        "mean": float(y.mean()),
        "std": float(variance.sqrt()),
        "kurtosis": float(centred.pow(4).mean() / variance.square() - 3),
    }
    return NoiseStats(**figures) if all(map(isfinite, figures.values())) else None
