"""Layouts for tests of networks, and inputs for them."""

import torch
from torch import Tensor, nn

from pipeline.npnet import NPNet
from pipeline.npnet.config import TINY_SWIN, Layout, SmallLayout, TwoBranchLayout
from pipeline.npnet.latents import FilmLatents, PackedLatents

SMALL = SmallLayout(latent_shape=(4, 8, 8), prompt_width=32, width=16, blocks=2)
TWO_BRANCH = TwoBranchLayout(
    latent_shape=(4, 8, 8),
    prompt_shape=(6, 32),
    value_hidden=32,
    swin=TINY_SWIN.model_copy(update={"embed_dim": 24}),
)
_PACKED = {"latents": PackedLatents(rows=2, columns=4), "latent_shape": (4, 4, 8)}
_FILM = {"latents": FilmLatents(frames=3)}
LAYOUTS: list[Layout] = [
    layout.model_copy(update=latents)
    for layout in (SMALL, TWO_BRANCH)
    for latents in ({}, _PACKED, _FILM)
]


def name_of(layout: Layout) -> str:
    """Return the id of a layout in test names."""
    return layout.kind if layout.latents is None else f"{layout.kind}-{layout.latents.kind}"


def inputs(layout: Layout, batch: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return random noises and prompt embeddings for a layout."""
    generator = torch.Generator().manual_seed(seed)
    prompt_shape = layout.prompt_shape if isinstance(layout, TwoBranchLayout) else (6, 32)
    return (
        torch.randn(batch, *layout.noise_shape, generator=generator),
        torch.randn(batch, *prompt_shape, generator=generator),
    )


def shaken(layout: Layout, seed: int = 0) -> NPNet:
    """Return a network without zero parameters, as after some training."""
    npnet = NPNet.new(layout, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in npnet.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    npnet.residual_std.fill_(0.25)
    return npnet


def without_gradient(module: nn.Module) -> set[str]:
    """Return the parameters whose gradient is missing or zero."""
    return {
        name
        for name, parameter in module.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    }
