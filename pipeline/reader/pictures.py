"""Decoding of stored pictures to tensors. H is the height, W the width."""

import io
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipeline.errors import UserError


def decode_picture(encoded: bytes) -> Tensor:
    """Decode a stored picture to a uint8 tensor of shape (H, W, 3)."""
    with Image.open(io.BytesIO(encoded)) as picture:
        return torch.from_numpy(np.array(picture.convert("RGB")))


class EncodedPictures:
    """Encoded pictures of a batch. Their common ``shape`` is known before they are decoded.

    Raises ``UserError`` for pictures of several sizes.
    """

    def __init__(self, name: str, encoded: Sequence[bytes]) -> None:
        self._pictures = [Image.open(io.BytesIO(each)) for each in encoded]
        sizes = {picture.size for picture in self._pictures}
        if len(sizes) > 1:
            found = ", ".join(f"{width}x{height}" for width, height in sorted(sizes))
            raise UserError(
                f"a batch cannot hold pictures of several sizes: {name} has {found}; read one plan "
                "(plans=), single samples (batch_size=None), or no pictures (columns=)"
            )
        ((width, height),) = sizes
        self.shape = (len(encoded), height, width, 3)

    def decode(self, room: Tensor) -> Tensor:
        """Decode all pictures into ``room``, a uint8 tensor of shape ``self.shape``."""
        places = room.numpy()
        for place, picture in zip(places, self._pictures, strict=True):
            with picture:
                place[...] = np.asarray(picture.convert("RGB"))
        return room
