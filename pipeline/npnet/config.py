"""Layouts of noise prompt networks: the settings that determine the shapes of all weights.

A layout is stored beside the weights as ``config.json``.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from pipeline.core.errors import UserError
from pipeline.core.records import Record
from pipeline.core.validation import explain
from pipeline.npnet.latents import Count, Latents, PackedLatents, PictureShape


class LatentLayout(Record):
    """Shape of the noises of a network."""

    latent_shape: tuple[Count, Count, Count]
    """Shape (C, H, W) of a noise, or of its pictures if ``latents`` is set."""
    latents: Latents | None = None
    """Map from noises to pictures, for packed latents and films."""

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """Shape of a stored noise."""
        if self.latents is None:
            return self.latent_shape
        return self.latents.noise_shape(self.latent_shape)

    @model_validator(mode="after")
    def _fits_patches(self) -> Self:
        if isinstance(self.latents, PackedLatents):
            sides = (2 * self.latents.rows, 2 * self.latents.columns)
            if sides != self.latent_shape[1:]:
                raise ValueError(f"patches of {sides} values do not fit {self.latent_shape[1:]}")
        return self


class SmallLayout(LatentLayout):
    """Layout of a convolutional network with attention to the prompt's tokens."""

    kind: Literal["small"] = "small"
    prompt_width: Count
    """Width D of a prompt embedding. The number of tokens is free."""
    width: Count = 64
    """Number of channels of the feature maps; a multiple of ``groups`` and of ``heads``."""
    blocks: Count = 4
    """Number of residual blocks."""
    heads: Count = 4
    """Number of heads of the attention to the tokens."""
    groups: Count = 8
    """Number of groups of a group normalisation."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Probability of dropout between the two convolutions of a block."""

    @model_validator(mode="after")
    def _divisible(self) -> Self:
        for name, parts in (("groups", self.groups), ("heads", self.heads)):
            if self.width % parts:
                raise ValueError(f"width {self.width} is not a multiple of {name} ({parts})")
        return self


class SwinLayout(Record):
    """Layout of the Swin transformer of the residual branch. The defaults are Swin-tiny."""

    image_size: Count = 224
    """Side of the square to which latents are resized, in pixels."""
    patch_size: Count = 4
    """Side of a token, in pixels."""
    window_size: Count = 7
    """Side of an attention window, in tokens."""
    embed_dim: Count = 96
    """Width of the first stage. Each stage has twice the width and a quarter of the tokens."""
    depths: Annotated[tuple[Count, ...], Field(min_length=1)] = (2, 2, 6, 2)
    """Number of blocks of each stage."""
    num_heads: Annotated[tuple[Count, ...], Field(min_length=1)] = (3, 6, 12, 24)
    """Number of heads of each stage."""
    pixels_per_token: Count = 16
    """Side of the square that replaces each token of the last stage, in pixels."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.depths) != len(self.num_heads):
            raise ValueError("depths and num_heads have different numbers of stages")
        smallest = self.patch_size * 2 ** (len(self.depths) - 1)
        if self.image_size % smallest:
            raise ValueError(f"image_size {self.image_size} is not a multiple of {smallest}")
        for stage, heads in enumerate(self.num_heads):
            if self.embed_dim * 2**stage % heads:
                raise ValueError(
                    f"the channels of stage {stage + 1} are not a multiple of its heads"
                )
        return self


class TwoBranchLayout(LatentLayout):
    """Layout of the published NPNet. The defaults are those of SDXL."""

    kind: Literal["two_branch"] = "two_branch"
    latent_shape: tuple[Count, Count, Count] = (4, 128, 128)
    prompt_shape: tuple[Count, Count] = (77, 2048)
    """Shape (L, D) of a prompt embedding. It is flattened, so L is fixed."""
    vector_hidden: Count = 64
    """Number of hidden units of the two networks that read singular vectors."""
    attention_heads: Count = 8
    """Number of heads of the attention between singular triplets."""
    value_hidden: Count = 1024
    """Number of hidden units of the network that predicts singular values."""
    swin: SwinLayout = SwinLayout()

    @model_validator(mode="after")
    def _divisible(self) -> Self:
        if self.num_values % self.attention_heads:
            raise ValueError(
                f"{self.num_values} singular values are not a multiple of attention_heads "
                f"({self.attention_heads})"
            )
        return self

    @property
    def folding(self) -> tuple[int, int]:
        """Rows and columns (a, c) of the grid of channels, as close to a square as possible."""
        channels = self.latent_shape[0]
        rows = max(a for a in range(1, channels + 1) if channels % a == 0 and a * a <= channels)
        return rows, channels // rows

    @property
    def folded_shape(self) -> tuple[int, int]:
        """Rows and columns of the matrix whose singular values are predicted."""
        (a, c), (_, height, width) = self.folding, self.latent_shape
        return a * height, c * width

    @property
    def num_values(self) -> int:
        """Number of singular values of a noise."""
        return min(self.folded_shape)


Layout = Annotated[SmallLayout | TwoBranchLayout, Field(discriminator="kind")]

TINY_SWIN = SwinLayout(
    image_size=16,
    patch_size=2,
    window_size=4,
    embed_dim=96,
    depths=(2, 2),
    num_heads=(3, 6),
    pixels_per_token=4,
)
"""Layout for latents of a few pixels per side, such as the demo's 8 × 8."""


PromptShape = tuple[int, int]

_SMALL_LATENTS = 32
"""Minimum side of latents for the full Swin, in pixels."""


def layout_for(
    kind: str,
    latent_shape: PictureShape,
    prompt_shape: PromptShape,
    width: int,
    dropout: float = 0.0,
    latents: Latents | None = None,
) -> Layout:
    """Return the layout of a ``kind`` for pictures (C, H, W) and prompt embeddings (L, D).

    ``width`` and ``dropout`` are those of the small layout. ``latents`` maps noises to pictures; it
    is None if they are pictures. SDXL's shapes give the published 30 M parameters. Raises
    ``UserError`` for sizes that a kind cannot have.
    """
    try:
        layout = _LAYOUTS[kind](latent_shape, prompt_shape, width, dropout)
    except ValidationError as error:
        raise UserError(
            f"no {kind} network for pictures {latent_shape}: {explain(error)}"
        ) from None
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
