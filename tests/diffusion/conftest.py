"""Source noises, and UNets of untrained models behind the ``Denoiser`` protocol."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pipeline.diffusion.noise import source_noise
from pipeline.models.diffusers.denoiser import DiffusersDenoiser
from tests.models.diffusers.tiny import tiny_pipeline


@pytest.fixture(scope="session")
def noises() -> Callable[..., Tensor]:
    """``noises(B, shape)``: the source noises of seeds 0 … B-1."""

    def build(batch: int, shape: tuple[int, ...]) -> Tensor:
        return torch.stack([source_noise(seed, shape) for seed in range(batch)])

    return build


@pytest.fixture(scope="session")
def gentle_denoiser() -> DiffusersDenoiser:
    """A UNet that is as steep as trained ones are: exact inversion converges at guidance 1."""
    return DiffusersDenoiser(tiny_pipeline(output_gain=3, text_gain=30), "gentle")


@pytest.fixture(scope="session")
def steep_denoiser() -> DiffusersDenoiser:
    """A UNet so steep that guidance 5.5 makes the fixed-point iteration expand."""
    return DiffusersDenoiser(tiny_pipeline(output_gain=8, text_gain=30), "steep")
