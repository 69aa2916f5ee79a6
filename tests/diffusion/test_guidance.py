"""Guidance against two separate passes, and its cost on a real UNet."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from pipeline.diffusion.guidance import combine, forward_evaluations, guided_prediction
from pipeline.models.diffusers.denoiser import DiffusersDenoiser

PROMPTS = ["a red circle", "blue", "z"]


@contextmanager
def counted_rows(denoiser: DiffusersDenoiser) -> Iterator[list[int]]:
    """Rows of every forward pass of the real UNet."""
    rows: list[int] = []
    hook = denoiser._pipe.unet.register_forward_pre_hook(
        lambda module, args: rows.append(len(args[0]))
    )
    try:
        yield rows
    finally:
        hook.remove()


@pytest.mark.parametrize(
    ("scale", "evaluations"), [(0, 1), (1, 1), (1.0, 1), (5.5, 2), (0.5, 2), (-1, 2)]
)
def test_forward_evaluations_are_what_the_unet_sees(
    gentle_denoiser: DiffusersDenoiser,
    noises: Callable[..., Tensor],
    scale: float,
    evaluations: int,
) -> None:
    prompts = gentle_denoiser.encode_prompts(PROMPTS)
    x = noises(3, gentle_denoiser.latent_shape)
    timestep = gentle_denoiser.schedule(10).timesteps[0]
    with counted_rows(gentle_denoiser) as rows:
        guided_prediction(gentle_denoiser, x, timestep, prompts, scale)
    assert forward_evaluations(scale, "classifier_free") == evaluations
    assert forward_evaluations(scale, "embedded") == 1
    assert rows == [3 * evaluations]


@pytest.mark.parametrize("scale", [0, 0.5, 1, 5.5])
def test_guided_prediction_equals_two_separate_passes(
    gentle_denoiser: DiffusersDenoiser, noises: Callable[..., Tensor], scale: float
) -> None:
    prompts = gentle_denoiser.encode_prompts(PROMPTS)
    x = noises(3, gentle_denoiser.latent_shape)
    timestep = gentle_denoiser.schedule(10).timesteps[0]
    u = gentle_denoiser.predict(x, timestep, prompts.unconditional)
    c = gentle_denoiser.predict(x, timestep, prompts.conditional)
    assert (u - c).abs().max() > 0.1
    guided = guided_prediction(gentle_denoiser, x, timestep, prompts, scale)
    expected = (1 - scale) * u + scale * c
    assert (guided - expected).norm() <= 1e-5 * expected.norm()


def test_combine_extrapolates_from_unconditional_through_conditional() -> None:
    u, c = torch.tensor([1.0, 2.0]), torch.tensor([2.0, 0.0])
    assert combine(u, c, 3).tolist() == [4.0, -4.0]
