"""Random noises as golden noise: their seeds, and that they are nobody else's."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.identity import prompt_id, seeds_apart, seeds_for
from pipeline.core.records import Candidate, Split
from pipeline.stages.propose import Source
from pipeline.stages.proposers import BestOfN
from tests.diffusion.gaussian import GaussianDenoiser

NAMES = prompt_id("a red circle")


def candidate(seed: int, index: int = 0) -> Candidate:
    return Candidate(
        index=index, prompt="a red circle", prompt_id=NAMES, split=Split.TRAIN, seed=seed
    )


def proposer(n: int = 4, name: str = "random") -> BestOfN:
    return BestOfN(name=name, n=n, root_seed=3, seeds_per_prompt=5)


def source(denoiser: GaussianDenoiser, candidates: list[Candidate]) -> Source:
    return Source(
        noise=torch.zeros(len(candidates), *denoiser.latent_shape), candidates=tuple(candidates)
    )


def test_noises_are_the_normal_draws_of_the_seeds_in_half_precision() -> None:
    denoiser = GaussianDenoiser()
    candidates = [candidate(seed, index) for index, seed in enumerate((7, 8, 9))]
    prompts = denoiser.encode_widths([0.5, 0.7, 0.9])
    proposals = proposer().propose(denoiser, prompts, source(denoiser, candidates))
    assert len(proposals) == proposer().proposals == 4
    assert denoiser.calls == [] and proposer().evaluations == 0
    for index, proposed in enumerate(proposals):
        assert proposed.forward_evaluations == (0, 0, 0)
        for row, one in enumerate(candidates):
            generator = torch.Generator("cpu").manual_seed(proposer().seeds(one)[index])
            drawn = torch.randn((2, 3), generator=generator).half().float()
            assert torch.equal(proposed.golden_noise[row], drawn)


def test_seeds_depend_on_candidate_and_name_and_fewer_are_the_first_of_more() -> None:
    seeds = proposer(8).seeds(candidate(7))
    assert len(set(seeds)) == 8
    assert proposer(3).seeds(candidate(7)) == seeds[:3]
    others = [proposer(8).seeds(candidate(8)), proposer(8, "other").seeds(candidate(7))]
    assert not set(seeds) & {seed for each in others for seed in each}


def test_seeds_of_the_prompts_own_candidates_are_passed_over() -> None:
    free = seeds_apart("name", 6)
    assert seeds_apart("name", 4, taken={free[1], free[3]}) == [free[i] for i in (0, 2, 4, 5)]


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_no_seed_is_one_of_the_prompts_own(seed: int, n: int) -> None:
    planned = seeds_for(3, NAMES, 5)
    assert not set(proposer(n).seeds(candidate(seed))) & set(planned)


def test_rows_do_not_depend_on_their_batch() -> None:
    denoiser = GaussianDenoiser()
    candidates = [candidate(seed, index) for index, seed in enumerate((7, 8, 9))]
    widths = denoiser.encode_widths([0.5] * 3)
    full = proposer(2).propose(denoiser, widths, source(denoiser, candidates))
    turned = proposer(2).propose(denoiser, widths, source(denoiser, candidates[::-1]))
    for one, other in zip(full, turned, strict=True):
        assert np.array_equal(one.golden_noise.numpy(), other.golden_noise.numpy()[::-1])
