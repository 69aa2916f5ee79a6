"""Arrays as pictures that stand inside the page: data URIs. H W height and width."""

import base64
import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.evaluate.trial.page.html import Html, tag

_LARGEST = 256
"""Pixels on the longer side; larger images are shown smaller, so that a page can be sent around."""

Pixels = npt.NDArray[np.uint8]


def picture(pixels: Pixels, alt: str) -> Html:
    """An image (H, W, 3): as it is, lossless, or scaled down where it is large."""
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
    """|one - other|: black where nothing changed."""
    return np.abs(one.astype(np.int16) - other.astype(np.int16)).astype(np.uint8)


def signed_map(values: npt.NDArray[np.float32], largest: float) -> Pixels:
    """A map (H, W) in colours: red above zero, blue below, white at it; full at ± ``largest``."""
    share = np.clip(values / (largest or 1.0), -1, 1)[..., None]
    red, blue = np.array([178, 24, 43]), np.array([33, 102, 172])
    colour = np.where(share > 0, red, blue)
    return np.asarray(255 + (colour - 255) * np.abs(share)).round().astype(np.uint8)
