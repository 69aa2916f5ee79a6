"""The source noise of a seed, the form in which noise is stored, and how golden noise differs."""

from collections.abc import Sequence
from math import isfinite

import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.identity import SEEDS
from pipeline.records import NoiseStats


def source_noise(seed: int, shape: Sequence[int]) -> Tensor:
    """x_T of one candidate: standard normal, float32, on the CPU, of ``shape`` (no batch).

    It depends on the seed alone: not on device, batch or position. Raises ``UserError`` for a seed
    outside 0 … 2**32 - 1, which would share its noise with another seed.
    """
    if not 0 <= seed < SEEDS:
        raise UserError(f"a seed must lie in 0 … {SEEDS - 1}, not {seed}")
    generator = torch.Generator("cpu").manual_seed(seed)
    return torch.randn(tuple(shape), generator=generator, dtype=torch.float32)


def stored(noise: Tensor) -> Tensor:
    """The float16 value that the data set holds; beyond ±65504 it is infinite."""
    return noise.to(torch.float16)


def as_model_input(stored_noise: Tensor) -> Tensor:
    """Stored noise as the sampler is fed with it: float32, the same values."""
    return stored_noise.to(torch.float32)


def noise_stats(source: Tensor, golden: Tensor) -> NoiseStats | None:
    """Statistics of one pair (two tensors of one shape, no batch), computed in float64.

    None where one of them is not finite: the golden noise holds NaN or infinity, or is constant.
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
