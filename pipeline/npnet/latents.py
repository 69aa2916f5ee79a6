"""The map between a family's noises and the pictures that networks compute on.

    (C, H, W)       one picture: most families
    (S, 4·C)        one picture, packed into S patches of 2 × 2: FLUX
    (C, F, H, W)    F pictures, the frames of a film: Wan

Both branches of the published network read a noise as a picture with channels. A packed noise is
unpacked first, so that a network sees which values are neighbours. The frames of a film are F
pictures with one prompt: a network computes each frame alone.

B batch, C channels, F frames, H W height and width, S patches.
"""

from math import isqrt
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from pipeline.errors import UserError
from pipeline.records import Record

Count = Annotated[int, Field(ge=1)]
PictureShape = tuple[int, int, int]

_PATCH = 2
"""Side of a patch, as ``FluxPipeline`` packs latents."""


class PackedLatents(Record):
    """Patches of 2 × 2 in rows, as ``FluxPipeline`` packs them."""

    kind: Literal["packed"] = "packed"
    rows: Count
    """Rows of patches."""
    columns: Count
    """Patches in a row."""

    def noise_shape(self, picture: PictureShape) -> tuple[int, ...]:
        """The shape of a noise whose picture is (C, H, W)."""
        return self.rows * self.columns, picture[0] * _PATCH**2

    def to_pictures(self, noises: Tensor) -> Tensor:
        """(B, S, 4·C) to (B, C, H, W)."""
        batch, _, values = noises.shape
        channels = values // _PATCH**2
        patches = noises.reshape(batch, self.rows, self.columns, channels, _PATCH, _PATCH)
        return patches.permute(0, 3, 1, 4, 2, 5).reshape(
            batch, channels, self.rows * _PATCH, self.columns * _PATCH
        )

    def to_noises(self, pictures: Tensor) -> Tensor:
        """(B, C, H, W) to (B, S, 4·C)."""
        batch, channels, _, _ = pictures.shape
        patches = pictures.reshape(batch, channels, self.rows, _PATCH, self.columns, _PATCH)
        return patches.permute(0, 2, 4, 1, 3, 5).reshape(
            batch, self.rows * self.columns, channels * _PATCH**2
        )


class FilmLatents(Record):
    """The frames of a film, as ``WanPipeline`` orders them."""

    kind: Literal["film"] = "film"
    frames: Count
    """Frames of the latents, which are fewer than those of the film."""

    def noise_shape(self, picture: PictureShape) -> tuple[int, ...]:
        """The shape of a noise whose frames are (C, H, W)."""
        channels, height, width = picture
        return channels, self.frames, height, width

    def to_pictures(self, noises: Tensor) -> Tensor:
        """(B, C, F, H, W) to (B·F, C, H, W); the frames of a film stay together."""
        return noises.transpose(1, 2).flatten(0, 1)

    def to_noises(self, pictures: Tensor) -> Tensor:
        """(B·F, C, H, W) to (B, C, F, H, W)."""
        return pictures.reshape(-1, self.frames, *pictures.shape[1:]).transpose(1, 2)


Latents = Annotated[PackedLatents | FilmLatents, Field(discriminator="kind")]


def latents_of(
    noise_shape: tuple[int, ...], height: int | None, width: int | None
) -> tuple[Latents | None, PictureShape]:
    """The map for noises of a shape, None where they are pictures, and the pictures' (C, H, W).

    ``height`` and ``width`` are those of ``[model]``: the number of patches does not say how many
    stand in a row. Without both, the image is square. Raises ``UserError`` for another shape, and
    where the rows do not follow.
    """
    match noise_shape:
        case (channels, rows, columns):
            return None, (channels, rows, columns)
        case (channels, frames, rows, columns):
            return FilmLatents(frames=frames), (channels, rows, columns)
        case (patches, values) if values % _PATCH**2 == 0:
            packed = _grid(patches, height, width)
            picture = (values // _PATCH**2, packed.rows * _PATCH, packed.columns * _PATCH)
            return packed, picture
    raise UserError(
        f"noises of shape {noise_shape}: a network reads (C, H, W), FLUX's packed latents and "
        "films (C, F, H, W)"
    )


def _grid(patches: int, height: int | None, width: int | None) -> PackedLatents:
    if (height is None) != (width is None):
        raise UserError(
            f"how {patches} packed patches stand in rows follows from height and width together: "
            "set both in [model]"
        )
    high, wide = (1, 1) if height is None or width is None else (height, width)
    rows = isqrt(patches * high // wide)
    if rows < 1 or rows * rows * wide != patches * high or patches % rows:
        size = "a square image" if height is None else f"an image of {high} × {wide} pixels"
        raise UserError(f"{patches} packed patches do not fit {size}: set height and width")
    return PackedLatents(rows=rows, columns=patches // rows)
