"""The samples of a trial: held-out prompts with unseen seeds, fixed before anything runs."""

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass

import numpy as np

from pipeline.errors import UserError
from pipeline.identity import prompt_id, seeds_for


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A prompt with a seed, and what the controls need beside them."""

    prompt: str
    prompt_id: str
    wrong_prompt: str
    """Another prompt of the trial, each of which is the wrong one of exactly one other."""
    seeds: tuple[int, ...]
    """That of its source noise; then, for the controls, of other noises of the same prompt."""
    rank: int
    """Its place among all samples if first seeds come first: a limit takes the lowest ranks, so
    that a subset has as many prompts as it can."""


def draw_samples(
    prompts: Sequence[str], seeds_per_prompt: int, extra_seeds: int, root_seed: int, used: Set[int]
) -> list[Sample]:
    """All seeds of one prompt stand together; no seed is in ``used`` and none comes twice a prompt.

    ``extra_seeds`` are those of the controls, for each sample. Raises ``UserError`` for one prompt
    alone, to which there is no other.
    """
    if len(prompts) < 2:
        raise UserError(f"a trial needs two prompts or more, not {len(prompts)}")
    wrong = _other_prompts(prompts, root_seed)
    samples = []
    for position, prompt in enumerate(prompts):
        name = prompt_id(prompt)
        seeds = _unseen_seeds(root_seed, name, seeds_per_prompt * (1 + extra_seeds), used)
        # The samples' own seeds come first: another number of controls leaves them.
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
    """For each prompt another one: all prompts in one random circle, each given its neighbour."""
    circle = np.random.default_rng(root_seed).permutation(len(prompts))
    others = [""] * len(prompts)
    for here, behind in zip(circle, np.roll(circle, -1), strict=True):
        others[here] = prompts[behind]
    return others


def _unseen_seeds(root_seed: int, name: str, count: int, used: Set[int]) -> list[int]:
    """The first seeds of a prompt, derived as a plan's are, that are not in ``used``."""
    wanted = count
    while True:
        unseen = [seed for seed in seeds_for(root_seed, name, wanted) if seed not in used]
        if len(unseen) >= count:
            return unseen[:count]
        wanted += count - len(unseen)


def chunks_of(
    samples: Sequence[Sample], size: int, seeds_per_prompt: int
) -> Iterator[list[Sample]]:
    """Runs of whole prompts, of at most ``size`` samples each, or of one prompt."""
    step = max(1, size // seeds_per_prompt) * seeds_per_prompt
    return (list(samples[start : start + step]) for start in range(0, len(samples), step))
