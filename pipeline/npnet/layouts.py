"""Which layout suits which latents."""

from collections.abc import Callable, Mapping

from pipeline.npnet.config import (
    TINY_SWIN,
    Layout,
    SmallLayout,
    SwinLayout,
    TwoBranchLayout,
)

LatentShape = tuple[int, int, int]
PromptShape = tuple[int, int]

_SMALL_LATENTS = 32
"""Latents with fewer pixels a side are given the small Swin."""


def layout_for(
    kind: str,
    latent_shape: LatentShape,
    prompt_shape: PromptShape,
    width: int,
    dropout: float = 0.0,
) -> Layout:
    """The layout of a ``kind`` for noises (C, H, W) and prompt embeddings (L, D).

    ``width`` and ``dropout`` are those of the small layout. SDXL's shapes give the published 30 M
    parameters.
    """
    return _LAYOUTS[kind](latent_shape, prompt_shape, width, dropout)


def _small(
    latent_shape: LatentShape, prompt_shape: PromptShape, width: int, dropout: float
) -> Layout:
    return SmallLayout(
        latent_shape=latent_shape, prompt_width=prompt_shape[1], width=width, dropout=dropout
    )


def _two_branch(
    latent_shape: LatentShape, prompt_shape: PromptShape, width: int, dropout: float
) -> Layout:
    swin = TINY_SWIN if max(latent_shape[1:]) < _SMALL_LATENTS else SwinLayout()
    return TwoBranchLayout(latent_shape=latent_shape, prompt_shape=prompt_shape, swin=swin)


_LAYOUTS: Mapping[str, Callable[[LatentShape, PromptShape, int, float], Layout]] = {
    "small": _small,
    "two_branch": _two_branch,
}
