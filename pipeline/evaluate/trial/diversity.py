"""Diversity of the images of one prompt. A collapsed method makes one image from all seeds."""

from itertools import combinations

import numpy as np
import torch
from torch import Tensor


def mean_pairwise_distance(images: Tensor) -> float:
    """Return the mean RMS difference in pixel values over all pairs of images.

    ``images`` is uint8 (S, H, W, 3). The result is 0 for equal images, 1 for black and white, and
    NaN for a single image.
    """
    pixels = images.to(torch.float32).flatten(1) / 255
    distances = [
        float((pixels[a] - pixels[b]).square().mean().sqrt())
        for a, b in combinations(range(len(pixels)), 2)
    ]
    return float(np.mean(distances)) if distances else float("nan")
