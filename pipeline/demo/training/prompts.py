"""The prompts that ship with the demo: distinct captions, of three kinds that share none.

``prompts.txt`` and ``held_out.txt`` show object combinations that no model has seen in training;
``train_prompts.txt`` shows those that the diffusion model was trained on. So a network trained on
pairs of the last, and evaluated on the second, has seen none of the combinations it is asked for.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from pipeline.demo.scenes import caption, draw_scene
from pipeline.storage.durable import atomic_write

FOLDER = Path(__file__).parents[1]
DEMO, HELD_OUT, TRAIN = (
    FOLDER / name for name in ("prompts.txt", "held_out.txt", "train_prompts.txt")
)
NUM_DEMO, NUM_HELD_OUT, NUM_TRAIN = 256, 512, 3_072


def demo_prompts(
    count: int = NUM_DEMO, seed: int = 0, *, held_out: bool = True, without: Iterable[str] = ()
) -> list[str]:
    """``count`` distinct captions in the order in which they are drawn, none of ``without``."""
    rng = np.random.default_rng(seed)
    prompts, refused = dict[str, None](), set(without)
    while len(prompts) < count:
        prompt = caption(draw_scene(rng, held_out=held_out))
        if prompt not in refused:
            prompts[prompt] = None
    return list(prompts)


def all_prompts() -> dict[Path, list[str]]:
    """What each of the shipped files holds."""
    demo = demo_prompts()
    return {
        DEMO: demo,
        HELD_OUT: demo_prompts(NUM_HELD_OUT, 1, without=demo),
        TRAIN: demo_prompts(NUM_TRAIN, 2, held_out=False),
    }


if __name__ == "__main__":
    for path, prompts in all_prompts().items():
        atomic_write(path, ["".join(f"{prompt}\n" for prompt in prompts).encode()])
