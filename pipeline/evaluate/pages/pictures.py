"""Pictures on a page: scaled down, and embedded as data URIs."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]

LARGEST = 256
"""Maximum side length in pixels. Larger pictures are scaled down to keep the page small."""
_SMALL = 128
"""Pictures smaller than this are enlarged without interpolation, which would invent detail."""


@dataclass(frozen=True, kw_only=True)
class Tile:
    """Picture with the texts below it."""

    name: str
    source: str
    """Data URI of the picture."""
    alt: str
    """Description for people who do not see the picture."""
    scores: Sequence[tuple[str, str]] = ()
    """Names of rewards with formatted scores."""


def data_uri(pixels: Pixels) -> str:
    """Return an image (H, W, 3) as a data URI: lossless PNG, or scaled-down WebP if it is large."""
    image = Image.fromarray(pixels)
    buffer = io.BytesIO()
    if max(image.size) <= LARGEST:
        image.save(buffer, format="PNG", optimize=True)
        kind = "png"
    else:
        image.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
        image.save(buffer, format="WEBP", quality=85)
        kind = "webp"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def is_small(image: Pixels) -> bool:
    """Return True for a picture that is enlarged without interpolation."""
    return bool(max(image.shape[:2]) < _SMALL)
