"""Stored pictures: PNG or lossless WebP, opened with a bound on their size.

A picture of a few kilobytes can decode to gigabytes, so its size is read before its pixels.
"""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.core.errors import VerificationError

MAX_PIXELS = 2**24
"""Most pixels of a picture that is decoded: 4096 × 4096, 50 MB as RGB."""

_UNREADABLE = (Image.DecompressionBombError, OSError, SyntaxError, ValueError)
"""Errors of Pillow for a file that is no picture, or is too large or damaged."""


def open_picture(encoded: bytes, sample_id: str) -> Image.Image:
    """Open the picture of a pair. Its size is known, and its pixels are not decoded yet.

    Raises ``VerificationError`` with the pair's id if it is no picture of this project's formats.
    """
    try:
        picture = Image.open(io.BytesIO(encoded), formats=("PNG", "WEBP"))
    except _UNREADABLE as error:
        raise _unreadable(sample_id, error) from error
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise VerificationError(
            f"the picture of pair {sample_id} has {width:,} × {height:,} pixels; pictures up to "
            f"{MAX_PIXELS:,} pixels are decoded"
        )
    return picture


def pixels_of(picture: Image.Image, sample_id: str) -> npt.NDArray[np.uint8]:
    """Decode a picture of ``open_picture``, uint8 (H, W, 3), and close it.

    Raises ``VerificationError`` with the pair's id if it is damaged.
    """
    try:
        with picture:
            return np.array(picture.convert("RGB"))
    except _UNREADABLE as error:
        raise _unreadable(sample_id, error) from error


def _unreadable(sample_id: str, error: Exception) -> VerificationError:
    return VerificationError(f"the picture of pair {sample_id} cannot be decoded: {error}")
