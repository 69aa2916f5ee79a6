"""How different the images of one prompt are: a way that collapses makes one image of all seeds."""

from itertools import combinations

import numpy as np
import torch
from torch import Tensor


def mean_pairwise_distance(images: Tensor) -> float:
    """Mean over all pairs of images, uint8 (S, H, W, 3), of their RMS difference in pixel values.

    In units of the full range: 0 for equal images, 1 for black against white. NaN for one image.
    """
    pixels = images.to(torch.float32).flatten(1) / 255
    distances = [
        float((pixels[a] - pixels[b]).square().mean().sqrt())
        for a, b in combinations(range(len(pixels)), 2)
    ]
    return float(np.mean(distances)) if distances else float("nan")
