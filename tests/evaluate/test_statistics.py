"""Tests of the intervals against scipy and normal theory."""

import numpy as np
import pytest
from scipy import stats

from pipeline.evaluate.statistics import mean, win_rate


@pytest.mark.parametrize(
    ("wins", "total"), [(0, 1), (1, 1), (0, 40), (40, 40), (29, 40), (512, 900)]
)
def test_win_rate_interval_is_wilsons(wins: int, total: int) -> None:
    found = win_rate(wins, total)
    expected = stats.binomtest(wins, total).proportion_ci(0.95, method="wilson")
    assert found.value == wins / total
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_mean_interval_of_independent_values_is_the_normal_one() -> None:
    values = np.random.default_rng(1).normal(3.0, 2.0, 800)
    found = mean(values, np.arange(800).astype(str))
    half = 1.96 * values.std() / 800**0.5
    assert found.value == pytest.approx(values.mean())
    # With 2,000 resamples a 95% bound is accurate to a few per cent of the interval's width.
    assert found.low == pytest.approx(values.mean() - half, abs=0.12 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.12 * half)


def test_mean_interval_repeats_within_a_group_are_no_new_evidence() -> None:
    values = np.random.default_rng(1).normal(size=200)
    names = np.arange(200).astype(str)
    once, often = mean(values, names), mean(np.repeat(values, 4), np.repeat(names, 4))
    assert (often.low, often.high) == pytest.approx((once.low, once.high))
    ungrouped = mean(np.repeat(values, 4), np.arange(800).astype(str))
    assert ungrouped.high - ungrouped.low == pytest.approx((once.high - once.low) / 2, rel=0.1)


def test_mean_interval_covers_the_truth_in_about_95_per_cent() -> None:
    rng = np.random.default_rng(2)
    names = np.repeat(np.arange(60), 2).astype(str)
    covered = 0
    for _ in range(200):
        values = np.repeat(rng.normal(size=60), 2) + rng.normal(size=120)
        found = mean(values, names)
        covered += found.low <= 0 <= found.high
    assert 0.88 <= covered / 200 <= 0.99


def test_mean_twice_is_the_same() -> None:
    values = np.random.default_rng(1).normal(size=50)
    names = np.arange(50).astype(str)
    assert mean(values, names) == mean(values, names)
