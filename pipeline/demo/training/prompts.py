"""The prompts that ship with the demo: distinct captions of held-out object combinations."""

from pathlib import Path

import numpy as np

from pipeline.demo.scenes import caption, draw_scene

PROMPTS_FILE = Path(__file__).parents[1] / "prompts.txt"
NUM_PROMPTS = 256


def demo_prompts(count: int = NUM_PROMPTS, seed: int = 0) -> list[str]:
    """``count`` distinct held-out captions; what ``prompts.txt`` holds, in its order."""
    rng = np.random.default_rng(seed)
    prompts: dict[str, None] = {}
    while len(prompts) < count:
        prompts[caption(draw_scene(rng, held_out=True))] = None
    return list(prompts)


if __name__ == "__main__":
    PROMPTS_FILE.write_text("\n".join(demo_prompts()) + "\n", "utf-8")
