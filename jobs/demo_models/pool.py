"""The pool of training pictures, rendered once, without held-out combinations."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.demo.drawing import render
from pipeline.demo.scenes import Scene, caption, draw_scene, parse
from pipeline.storage.durable import whole_file


@dataclass(frozen=True)
class Pool:
    """Pictures, uint8 (n, H, W, 3), and their scenes."""

    images: NDArray[np.uint8]
    scenes: list[Scene]

    def __len__(self) -> int:
        return len(self.scenes)


def render_pool(size: int, seed: int, *, held_out: bool = False) -> Pool:
    """Render ``size`` random scenes."""
    rng = np.random.default_rng([seed, int(held_out)])
    scenes = [draw_scene(rng, held_out=held_out) for _ in range(size)]
    return Pool(np.stack([render(scene, rng) for scene in scenes]), scenes)


def cached_pool(size: int, seed: int, folder: Path) -> Pool:
    """Return ``render_pool(size, seed)``, cached in ``folder``."""
    path = folder / "pool.npz"
    if not path.exists():
        pool = render_pool(size, seed)
        captions = np.array([caption(scene) for scene in pool.scenes])
        with whole_file(path) as unfinished, unfinished.open("wb") as file:
            np.savez(file, images=pool.images, captions=captions)
    with np.load(path) as stored:
        scenes = [parse(text) for text in stored["captions"].tolist()]
        return Pool(stored["images"], [scene for scene in scenes if scene is not None])


def as_pixels(images: NDArray[np.uint8]) -> Tensor:
    """Convert uint8 (B, H, W, 3) to the autoencoder's float32 (B, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1.0


def as_images(pixels: Tensor) -> NDArray[np.uint8]:
    """Invert ``as_pixels``, with clipping."""
    clipped = ((pixels.float() + 1.0) * 127.5).round().clamp(0, 255)
    return np.asarray(clipped.to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy())
