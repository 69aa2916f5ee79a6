"""The prompt files of the demo: three disjoint sets of distinct captions.

``prompts.txt`` and ``held_out.txt`` have object combinations that are in no training data.
``train_prompts.txt`` has combinations that the diffusion model was trained on. A network trained
on pairs of ``train_prompts.txt`` and evaluated on ``held_out.txt`` therefore meets only new
combinations.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from pipeline.config.file import BUNDLED
from pipeline.demo.scenes import caption, draw_scene
from pipeline.storage.durable import atomic_write

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
