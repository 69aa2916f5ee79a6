"""Images as each judge was trained to see them: resized, cropped, normalised.

What their authors did with torchvision or transformers, without either. The ways differ in
rounding, which a judge can see: Pillow rounds to whole values, torch's filter does not.
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
"""Of CLIP's training images, as fractions; BLIP's judges use them too."""

Crop = Callable[[int, int], int]
"""From the length of an edge and of the crop to where the crop begins."""


def centre_rounded(length: int, cropped: int) -> int:
    """torchvision's centre: half a pixel goes to the even side."""
    return round((length - cropped) / 2)


def centre_floored(length: int, cropped: int) -> int:
    """That of transformers' image processors: half a pixel goes to the front."""
    return (length - cropped) // 2


def pillow_pixels(images: Tensor, side: int, crop: Crop = centre_rounded) -> Tensor:
    """uint8 (B, H, W, 3) to float32 (B, 3, S, S): Pillow's bicubic filter, whole values."""
    height, width = _resized(images, side)
    resized = np.stack(
        [
            np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))
            for image in images.cpu().numpy()
        ]
    )
    return _normalised(_cropped(_as_fractions(torch.from_numpy(resized)), side, crop))


def torch_pixels(images: Tensor, side: int) -> Tensor:
    """uint8 (B, H, W, 3) to float32 (B, 3, S, S): torch's bicubic filter with antialiasing.

    As torchvision resizes tensors since 0.17; before, it did not smooth, and scores differ.
    """
    fractions = _as_fractions(images)
    size = _resized(images, side)
    if size != tuple(fractions.shape[2:]):
        fractions = interpolate(fractions, size=size, mode="bicubic", antialias=True)
    return _normalised(_cropped(fractions, side, centre_rounded))


def _resized(images: Tensor, side: int) -> tuple[int, int]:
    """Height and width after the shorter edge became ``side``."""
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
