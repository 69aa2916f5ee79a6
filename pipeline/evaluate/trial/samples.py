"""Samples of a trial: held-out prompts with unseen seeds, chosen before any image is made."""

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass

import numpy as np

from pipeline.errors import UserError
from pipeline.identity import prompt_id, seeds_for


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Prompt with a seed, and the further prompt and seeds that the controls need."""

    prompt: str
    prompt_id: str
    wrong_prompt: str
    """Another prompt of the trial. Each prompt is the wrong prompt of exactly one other prompt."""
    seeds: tuple[int, ...]
    """Seed of the source noise, followed by the seeds of other noises for the controls."""
    rank: int
    """Position if all first seeds precede all second seeds. A limit takes the lowest ranks, so that
    a subset covers as many prompts as possible."""


def draw_samples(
    prompts: Sequence[str], seeds_per_prompt: int, extra_seeds: int, root_seed: int, used: Set[int]
) -> list[Sample]:
    """Return the samples of all prompts; the samples of one prompt are adjacent.

    No seed is in ``used``, and the seeds of a prompt are distinct. ``extra_seeds`` is the number of
    seeds for the controls of each sample. Raises ``UserError`` for fewer than two prompts, because
    every prompt needs a wrong prompt.
    """
    if len(prompts) < 2:
        raise UserError(f"a trial needs two prompts or more, not {len(prompts)}")
    wrong = _other_prompts(prompts, root_seed)
    samples = []
    for position, prompt in enumerate(prompts):
        name = prompt_id(prompt)
        seeds = _unseen_seeds(root_seed, name, seeds_per_prompt * (1 + extra_seeds), used)
        # Source seeds precede the extra seeds, so they do not depend on the number of controls.
        for index in range(seeds_per_prompt):
            start = seeds_per_prompt + index * extra_seeds
            samples.append(
                Sample(
                    prompt=prompt,
                    prompt_id=name,
                    wrong_prompt=wrong[position],
                    seeds=(seeds[index], *seeds[start : start + extra_seeds]),
                    rank=index * len(prompts) + position,
                )
            )
    return samples


def _other_prompts(prompts: Sequence[str], root_seed: int) -> list[str]:
    """Return another prompt for each prompt: its neighbour in one random cycle of all prompts."""
    circle = np.random.default_rng(root_seed).permutation(len(prompts))
    others = [""] * len(prompts)
    for here, behind in zip(circle, np.roll(circle, -1), strict=True):
        others[here] = prompts[behind]
    return others


def _unseen_seeds(root_seed: int, name: str, count: int, used: Set[int]) -> list[int]:
    """Return a prompt's first ``count`` seeds, derived as in a plan, that are not in ``used``."""
    wanted = count
    while True:
        unseen = [seed for seed in seeds_for(root_seed, name, wanted) if seed not in used]
        if len(unseen) >= count:
            return unseen[:count]
        wanted += count - len(unseen)


def chunks_of(
    samples: Sequence[Sample], size: int, seeds_per_prompt: int
) -> Iterator[list[Sample]]:
    """Split samples into chunks of at most ``size``, but never split the seeds of a prompt."""
    step = max(1, size // seeds_per_prompt) * seeds_per_prompt
    return (list(samples[start : start + step]) for start in range(0, len(samples), step))
