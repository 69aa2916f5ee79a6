"""Maps between the noises of model families and the pictures that networks compute on.

    (C, H, W)       one picture: most families
    (S, 4·C)        one picture, packed into S patches of 2 × 2: FLUX
    (C, F, H, W)    F pictures, the frames of a film: Wan

Both branches of the published network read a noise as a picture with channels. A packed noise is
unpacked first, because neighbouring values are not adjacent in it. The frames of a film are F
pictures with one prompt, and a network computes each frame alone.

B batch, C channels, F frames, H W height and width, S patches.
"""

from math import isqrt
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from pipeline.core.errors import UserError
from pipeline.core.records import Record

Count = Annotated[int, Field(ge=1)]
PictureShape = tuple[int, int, int]

_PATCH = 2
"""Side of a patch of ``FluxPipeline``, in pixels of the latents."""


class PackedLatents(Record):
    """Map for latents that ``FluxPipeline`` packs into rows of 2 × 2 patches."""

    kind: Literal["packed"] = "packed"
    rows: Count
    """Number of rows of patches."""
    columns: Count
    """Number of patches in a row."""

    def noise_shape(self, picture: PictureShape) -> tuple[int, ...]:
        """Return the shape of a noise whose picture is (C, H, W)."""
        return self.rows * self.columns, picture[0] * _PATCH**2

    def to_pictures(self, noises: Tensor) -> Tensor:
        """Unpack noises (B, S, 4·C) to pictures (B, C, H, W)."""
        batch, _, values = noises.shape
        channels = values // _PATCH**2
        patches = noises.reshape(batch, self.rows, self.columns, channels, _PATCH, _PATCH)
        return patches.permute(0, 3, 1, 4, 2, 5).reshape(
            batch, channels, self.rows * _PATCH, self.columns * _PATCH
        )

    def to_noises(self, pictures: Tensor) -> Tensor:
        """Pack pictures (B, C, H, W) to noises (B, S, 4·C)."""
        batch, channels, _, _ = pictures.shape
        patches = pictures.reshape(batch, channels, self.rows, _PATCH, self.columns, _PATCH)
        return patches.permute(0, 2, 4, 1, 3, 5).reshape(
            batch, self.rows * self.columns, channels * _PATCH**2
        )


class FilmLatents(Record):
    """Map for the frames of a film, in the order of ``WanPipeline``."""

    kind: Literal["film"] = "film"
    frames: Count
    """Number of frames of the latents; the film has more."""

    def noise_shape(self, picture: PictureShape) -> tuple[int, ...]:
        """Return the shape of a noise whose frames are (C, H, W)."""
        channels, height, width = picture
        return channels, self.frames, height, width

    def to_pictures(self, noises: Tensor) -> Tensor:
        """Split noises (B, C, F, H, W) into frames (B·F, C, H, W), in the order of the films."""
        return noises.transpose(1, 2).flatten(0, 1)

    def to_noises(self, pictures: Tensor) -> Tensor:
        """Join frames (B·F, C, H, W) to noises (B, C, F, H, W)."""
        return pictures.reshape(-1, self.frames, *pictures.shape[1:]).transpose(1, 2)


Latents = Annotated[PackedLatents | FilmLatents, Field(discriminator="kind")]


def latents_of(
    noise_shape: tuple[int, ...], height: int | None, width: int | None
) -> tuple[Latents | None, PictureShape]:
    """Return the map for noises of a shape (None for pictures), and the pictures' (C, H, W).

    ``height`` and ``width`` are those of ``[model]``. They determine the rows of packed latents,
    whose shape holds only the number of patches. Without both, the image is square. Raises
    ``UserError`` for another shape, and if the patches do not fit the image.
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
            f"the rows of {patches} packed patches depend on height and width; set both in [model]"
        )
    high, wide = (1, 1) if height is None or width is None else (height, width)
    rows = isqrt(patches * high // wide)
    if rows < 1 or rows * rows * wide != patches * high or patches % rows:
        size = "a square image" if height is None else f"an image of {high} × {wide} pixels"
        raise UserError(f"{patches} packed patches do not fit {size}: set height and width")
    return PackedLatents(rows=rows, columns=patches // rows)
