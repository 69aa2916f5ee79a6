"""Preprocessing of images for the rewards: resize, crop, normalise.

It repeats what the authors do with torchvision or transformers, without either library. The methods
differ in rounding, and scores depend on it: Pillow rounds to integers, torch's filter does not.
B batch, H W image height and width, S side of the square that the network reads, all in pixels.
"""

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)
"""Standard deviation of CLIP's training images in each channel, like ``_MEAN`` in [0, 1]. BLIP uses
the same values."""

Crop = Callable[[int, int], int]
"""Function of the length of an edge and of the crop that returns the first pixel of the crop."""


def centre_rounded(length: int, cropped: int) -> int:
    """Return the start of a centred crop as torchvision does. Half pixels round to even."""
    return round((length - cropped) / 2)


def centre_floored(length: int, cropped: int) -> int:
    """Return the start of a centred crop as transformers does. Half pixels round down."""
    return (length - cropped) // 2


def pillow_pixels(images: Tensor, side: int, crop: Crop = centre_rounded) -> Tensor:
    """Convert uint8 (B, H, W, 3) to float32 (B, 3, S, S) with Pillow's bicubic filter."""
    height, width = _resized(images, side)
    resized = np.stack(
        [
            np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))
            for image in images.cpu().numpy()
        ]
    )
    return _normalised(_cropped(_as_fractions(torch.from_numpy(resized)), side, crop))


def torch_pixels(images: Tensor, side: int) -> Tensor:
    """Convert uint8 (B, H, W, 3) to float32 (B, 3, S, S) with torch's antialiased bicubic filter.

    torchvision resizes tensors this way since 0.17. Earlier versions did not antialias, so their
    scores differ.
    """
    fractions = _as_fractions(images)
    size = _resized(images, side)
    if size != tuple(fractions.shape[2:]):
        fractions = interpolate(fractions, size=size, mode="bicubic", antialias=True)
    return _normalised(_cropped(fractions, side, centre_rounded))


def _resized(images: Tensor, side: int) -> tuple[int, int]:
    """Return height and width after the shorter edge is resized to ``side``."""
    height, width = images.shape[1:3]
    return (
        (int(side * height / width), side)
        if width <= height
        else (side, int(side * width / height))
    )


def _as_fractions(images: Tensor) -> Tensor:
    return images.permute(0, 3, 1, 2).float() / 255


def _cropped(pixels: Tensor, side: int, crop: Crop) -> Tensor:
    top, left = (crop(length, side) for length in pixels.shape[2:])
    return pixels[:, :, top : top + side, left : left + side]


def _normalised(pixels: Tensor) -> Tensor:
    mean, std = (pixels.new_tensor(values).view(3, 1, 1) for values in (_MEAN, _STD))
    return (pixels - mean) / std
