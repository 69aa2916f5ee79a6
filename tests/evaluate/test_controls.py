"""Tests of gains and controls on synthetic scores with known answers."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from pipeline.evaluate.controls import (
    best_of_seeds,
    filtered_independent_seed,
    golden_gain,
    independent_seed,
)
from pipeline.evaluate.scores import ScoreTable

PROMPTS = 2000


def make_scores(seeds: int = 2, gain: float = 0.5, prompts: int = PROMPTS) -> ScoreTable:
    """Return scores with a random effect per prompt and per seed, and a mean golden gain."""
    rng = np.random.default_rng(0)
    total = prompts * seeds
    source = np.repeat(rng.normal(size=prompts), seeds) + rng.normal(size=total)
    golden = source + gain + rng.normal(size=total)
    return ScoreTable(
        sample_ids=np.arange(total).astype(str),
        prompt_ids=np.repeat(np.arange(prompts).astype(str), seeds),
        splits=np.full(total, "train"),
        kept=golden > source,
        in_shards=golden > source,
        sampled=np.ones(total, bool),
        within_gate=np.ones(total, bool),
        source={"r": source},
        golden={"r": golden},
        noise_stats={"std": np.ones(total), "kurtosis": np.zeros(total)},
    )


def test_golden_gain_is_the_one_put_in() -> None:
    scores = make_scores()
    found = golden_gain(scores, "r", scores.judged())
    assert found is not None and found.num_pairs == 2 * PROMPTS
    assert found.gain.low < 0.5 < found.gain.high
    assert found.other - found.standard == pytest.approx(found.gain.value)
    assert found.wins.low < stats.norm.cdf(0.5) < found.wins.high


@pytest.mark.parametrize("seeds", [2, 3, 4])
def test_independent_seed_gains_nothing(seeds: int) -> None:
    found = independent_seed(make_scores(seeds), "r", seeds)
    assert found is not None and found.num_pairs == PROMPTS * (seeds // 2)
    assert found.gain.low < 0 < found.gain.high
    assert found.wins.low < 0.5 < found.wins.high
    assert found.gain.high - found.gain.low > 0.02, "not zero by construction"


def test_independent_seed_compares_within_a_prompt() -> None:
    # The difficulty of a prompt (variance 1) is in neither difference: it has variance 2, not 4.
    found = independent_seed(make_scores(2), "r", 2)
    assert found is not None
    error = (found.gain.high - found.gain.low) / 2 / 1.96
    assert error == pytest.approx((2 / PROMPTS) ** 0.5, rel=0.1)


@pytest.mark.parametrize("seeds", [2, 4])
def test_filter_on_noise_gains_by_construction(seeds: int) -> None:
    found = filtered_independent_seed(make_scores(seeds), "r", "r", seeds)
    assert found is not None and found.wins.value == 1.0
    # E[d | d > 0] of a difference of two standard normals.
    expected = 2 / np.pi**0.5
    assert found.gain.low < expected < found.gain.high
    assert found.num_pairs == pytest.approx(PROMPTS * (seeds // 2) / 2, rel=0.1)


def test_filter_by_one_reward_gains_nothing_under_an_unrelated_one() -> None:
    scores, other = make_scores(2), np.random.default_rng(9).normal(size=2 * PROMPTS)
    both = replace(
        scores,
        source={"r": scores.source["r"], "other": other},
        golden={"r": scores.golden["r"], "other": other},
    )
    found = filtered_independent_seed(both, "other", "r", 2)
    assert found is not None and found.gain.low < 0 < found.gain.high


@pytest.mark.parametrize(("seeds", "expected"), [(2, 1 / np.pi**0.5), (3, 1.5 / np.pi**0.5)])
def test_best_of_seeds_gains_the_expected_maximum(seeds: int, expected: float) -> None:
    found = best_of_seeds(make_scores(seeds), "r", "r", seeds)
    assert found is not None and found.num_pairs == seeds * PROMPTS
    assert found.gain.low < expected < found.gain.high


def test_controls_a_single_seed_has_none() -> None:
    scores = make_scores(1)
    assert independent_seed(scores, "r", 1) is None
    assert filtered_independent_seed(scores, "r", "r", 1) is None
    assert best_of_seeds(scores, "r", "r", 1) is None


def test_controls_candidates_without_scores_are_left_out() -> None:
    scores = make_scores(2, prompts=3)
    scores.golden["r"][0] = np.nan
    scores.source["r"][3] = np.nan
    assert scores.judged().tolist() == [False, True, True, False, True, True]
    for found, pairs in [
        (golden_gain(scores, "r", scores.judged()), 4),
        (independent_seed(scores, "r", 2), 1),
        (best_of_seeds(scores, "r", "r", 2), 4),
    ]:
        assert found is not None and found.num_pairs == pairs
        assert np.isfinite([found.standard, found.other, found.gain.low, found.gain.high]).all()


def test_controls_no_prompt_with_two_judged_seeds_is_none() -> None:
    scores = make_scores(2, prompts=3)
    scores.source["r"][1::2] = np.nan
    assert independent_seed(scores, "r", 2) is None
    assert filtered_independent_seed(scores, "r", "r", 2) is None
