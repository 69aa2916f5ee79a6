"""Layouts of noise prompt networks: the settings that determine the shapes of all weights.

A layout is stored beside the weights as ``config.json``.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from pipeline.errors import UserError
from pipeline.npnet.latents import Count, Latents, PackedLatents, PictureShape
from pipeline.records import Record


class LatentLayout(Record):
    """The noises of a network."""

    latent_shape: tuple[Count, Count, Count]
    """(C, H, W) of a noise; of the pictures that it stands for where ``latents`` is set."""
    latents: Latents | None = None
    """How noises become pictures, for packed latents and films."""

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """The shape of a noise as it is stored."""
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
    """A convolutional network with attention to the prompt's tokens; for latents of any size."""

    kind: Literal["small"] = "small"
    prompt_width: Count
    """D, the width of a prompt embedding; it may have any number of tokens."""
    width: Count = 64
    """Channels inside; a multiple of ``groups`` and of ``heads``."""
    blocks: Count = 4
    """Residual blocks."""
    heads: Count = 4
    """Heads of the attention to the tokens."""
    groups: Count = 8
    """Groups of a group normalisation."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the features between two convolutions that training leaves out."""

    @model_validator(mode="after")
    def _divisible(self) -> Self:
        for name, parts in (("groups", self.groups), ("heads", self.heads)):
            if self.width % parts:
                raise ValueError(f"width {self.width} is not a multiple of {name} ({parts})")
        return self


class SwinLayout(Record):
    """The Swin transformer of the residual branch. The defaults are Swin-tiny."""

    image_size: Count = 224
    """Side of the square that latents are resized to."""
    patch_size: Count = 4
    """Side of a token, in pixels."""
    window_size: Count = 7
    """Side of a window of attention, in tokens."""
    embed_dim: Count = 96
    """Width of the first stage; each further one has twice as many, and a quarter of the tokens."""
    depths: Annotated[tuple[Count, ...], Field(min_length=1)] = (2, 2, 6, 2)
    """Blocks of each stage."""
    num_heads: Annotated[tuple[Count, ...], Field(min_length=1)] = (3, 6, 12, 24)
    """Heads of each stage."""
    pixels_per_token: Count = 16
    """Side of the square of pixels that each token of the last stage becomes."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.depths) != len(self.num_heads):
            raise ValueError("depths and num_heads name different numbers of stages")
        smallest = self.patch_size * 2 ** (len(self.depths) - 1)
        if self.image_size % smallest:
            raise ValueError(f"image_size {self.image_size} is not a multiple of {smallest}")
        for stage, heads in enumerate(self.num_heads):
            if self.embed_dim * 2**stage % heads:
                raise ValueError(f"stage {stage + 1} has no whole number of channels a head")
        return self


class TwoBranchLayout(LatentLayout):
    """The published NPNet: singular values and a residual. The defaults are those of SDXL."""

    kind: Literal["two_branch"] = "two_branch"
    latent_shape: tuple[Count, Count, Count] = (4, 128, 128)
    prompt_shape: tuple[Count, Count] = (77, 2048)
    """(L, D) of a prompt embedding; it is read flattened, so its length is fixed."""
    vector_hidden: Count = 64
    """Hidden units of the two networks that read singular vectors."""
    attention_heads: Count = 8
    """Heads of the attention between singular triplets."""
    value_hidden: Count = 1024
    """Hidden units of the network that predicts singular values."""
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
        """(a, c): the C channels are laid out as a × c pictures, as near to a square as may be."""
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
        """Singular values of a noise."""
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
"""For latents of a few pixels a side, as the demo's 8 × 8."""


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
