"""Which layout suits which latents."""

from collections.abc import Callable, Mapping

from pydantic import ValidationError

from pipeline.errors import UserError
from pipeline.npnet.config import (
    TINY_SWIN,
    Layout,
    SmallLayout,
    SwinLayout,
    TwoBranchLayout,
)
from pipeline.npnet.latents import Latents, PictureShape

PromptShape = tuple[int, int]

_SMALL_LATENTS = 32
"""Latents with fewer pixels a side are given the small Swin."""


def layout_for(
    kind: str,
    latent_shape: PictureShape,
    prompt_shape: PromptShape,
    width: int,
    dropout: float = 0.0,
    latents: Latents | None = None,
) -> Layout:
    """The layout of a ``kind`` for pictures (C, H, W) and prompt embeddings (L, D).

    ``width`` and ``dropout`` are those of the small layout. ``latents`` says how noises become
    pictures, where they are none. SDXL's shapes give the published 30 M parameters. Raises
    ``UserError`` for sizes that a kind cannot have.
    """
    try:
        layout = _LAYOUTS[kind](latent_shape, prompt_shape, width, dropout)
    except ValidationError as error:
        reasons = "; ".join(str(fault["msg"]) for fault in error.errors())
        raise UserError(f"no {kind} network for pictures {latent_shape}: {reasons}") from None
    return layout.model_copy(update={"latents": latents})


def _small(
    latent_shape: PictureShape, prompt_shape: PromptShape, width: int, dropout: float
) -> Layout:
    return SmallLayout(
        latent_shape=latent_shape, prompt_width=prompt_shape[1], width=width, dropout=dropout
    )


def _two_branch(
    latent_shape: PictureShape, prompt_shape: PromptShape, width: int, dropout: float
) -> Layout:
    swin = TINY_SWIN if max(latent_shape[1:]) < _SMALL_LATENTS else SwinLayout()
    return TwoBranchLayout(latent_shape=latent_shape, prompt_shape=prompt_shape, swin=swin)


_LAYOUTS: Mapping[str, Callable[[PictureShape, PromptShape, int, float], Layout]] = {
    "small": _small,
    "two_branch": _two_branch,
}
