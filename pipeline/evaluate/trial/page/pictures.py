"""Arrays as images that are embedded in the page as data URIs. H W height and width."""

import base64
import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.evaluate.trial.page.html import Html, tag

_LARGEST = 256
"""Maximum side length in pixels. Larger images are scaled down to keep the page small."""

Pixels = npt.NDArray[np.uint8]


def picture(pixels: Pixels, alt: str) -> Html:
    """Return an image element of (H, W, 3): lossless PNG, or scaled-down WebP if it is large."""
    image = Image.fromarray(pixels)
    buffer = io.BytesIO()
    if max(image.size) <= _LARGEST:
        image.save(buffer, format="PNG", optimize=True)
        kind = "png"
    else:
        image.thumbnail((_LARGEST, _LARGEST), Image.Resampling.LANCZOS)
        image.save(buffer, format="WEBP", quality=85)
        kind = "webp"
    data = base64.b64encode(buffer.getvalue()).decode()
    return tag("img", src=f"data:image/{kind};base64,{data}", alt=alt)


def difference(one: Pixels, other: Pixels) -> Pixels:
    """Return |one - other|, which is black where the images are equal."""
    # uint8 subtraction would wrap around below zero.
    return np.abs(one.astype(np.int16) - other.astype(np.int16)).astype(np.uint8)


def signed_map(values: npt.NDArray[np.float32], largest: float) -> Pixels:
    """Return a map (H, W) as colours: blue at -``largest``, white at 0, red at ``largest``."""
    share = np.clip(values / (largest or 1.0), -1, 1)[..., None]
    red, blue = np.array([178, 24, 43]), np.array([33, 102, 172])
    colour = np.where(share > 0, red, blue)
    return np.asarray(255 + (colour - 255) * np.abs(share)).round().astype(np.uint8)
