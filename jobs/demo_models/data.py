"""Data of the demo models: rendered training pictures and the demo's prompt files.

The prompt files are three disjoint sets of distinct captions. ``prompts.txt`` and ``held_out.txt``
have object combinations that are in no training data. ``train_prompts.txt`` has combinations that
the diffusion model was trained on. A network that is trained on pairs of ``train_prompts.txt`` and
evaluated on ``held_out.txt`` therefore receives only new combinations.

``python -m jobs.demo_models.data`` writes the prompt files.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.config.file import BUNDLED
from pipeline.demo.drawing import render
from pipeline.demo.scenes import Scene, caption, draw_scene, parse
from pipeline.storage.durable import atomic_write, whole_file


@dataclass(frozen=True)
class Pictures:
    """Pictures, uint8 (n, H, W, 3), and their scenes."""

    images: NDArray[np.uint8]
    scenes: list[Scene]

    def __len__(self) -> int:
        return len(self.scenes)


def render_pictures(size: int, seed: int, *, held_out: bool = False) -> Pictures:
    """Render ``size`` random scenes."""
    rng = np.random.default_rng([seed, int(held_out)])
    scenes = [draw_scene(rng, held_out=held_out) for _ in range(size)]
    return Pictures(np.stack([render(scene, rng) for scene in scenes]), scenes)


def cached_pictures(size: int, seed: int, folder: Path) -> Pictures:
    """Return ``render_pictures(size, seed)``, cached in ``folder``."""
    path = folder / "pool.npz"
    if not path.exists():
        pictures = render_pictures(size, seed)
        captions = np.array([caption(scene) for scene in pictures.scenes])
        with whole_file(path) as unfinished, unfinished.open("wb") as file:
            np.savez(file, images=pictures.images, captions=captions)
    with np.load(path) as stored:
        scenes = [parse(text) for text in stored["captions"].tolist()]
        return Pictures(stored["images"], [scene for scene in scenes if scene is not None])


def as_pixels(images: NDArray[np.uint8]) -> Tensor:
    """Convert uint8 (B, H, W, 3) to the autoencoder's float32 (B, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1.0


def as_images(pixels: Tensor) -> NDArray[np.uint8]:
    """Invert ``as_pixels``, with clipping."""
    clipped = ((pixels.float() + 1.0) * 127.5).round().clamp(0, 255)
    return np.asarray(clipped.to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy())


DEMO, HELD_OUT, TRAIN = (
    BUNDLED / name for name in ("prompts.txt", "held_out.txt", "train_prompts.txt")
)
NUM_DEMO, NUM_HELD_OUT, NUM_TRAIN = 256, 512, 3_072


def demo_prompts(
    count: int = NUM_DEMO, seed: int = 0, *, held_out: bool = True, without: Iterable[str] = ()
) -> list[str]:
    """Draw ``count`` distinct captions, in order, without those in ``without``."""
    rng = np.random.default_rng(seed)
    prompts, refused = dict[str, None](), set(without)
    while len(prompts) < count:
        prompt = caption(draw_scene(rng, held_out=held_out))
        if prompt not in refused:
            prompts[prompt] = None
    return list(prompts)


def all_prompts() -> dict[Path, list[str]]:
    """Return the content of each shipped prompt file."""
    demo = demo_prompts()
    return {
        DEMO: demo,
        HELD_OUT: demo_prompts(NUM_HELD_OUT, 1, without=demo),
        TRAIN: demo_prompts(NUM_TRAIN, 2, held_out=False),
    }


if __name__ == "__main__":
    for path, prompts in all_prompts().items():
        atomic_write(path, ["".join(f"{prompt}\n" for prompt in prompts).encode()])
