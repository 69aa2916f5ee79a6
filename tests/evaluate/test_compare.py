"""Tests of gains, intervals and tests against scipy, closed forms and normal theory."""

import numpy as np
import pytest
from scipy import stats

from pipeline.evaluate.compare import (
    Estimate,
    compare,
    gain_ratio,
    mean,
    ratio,
    sign_test,
    sums_by_group,
    win_rate,
)


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


@pytest.mark.parametrize(
    ("wins", "losses"), [(0, 0), (1, 0), (0, 7), (5, 5), (6, 5), (30, 12), (700, 812), (4_000, 0)]
)
def test_sign_test_is_the_exact_binomial_test(wins: int, losses: int) -> None:
    expected = stats.binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    assert sign_test(wins, losses) == pytest.approx(expected, rel=1e-9, abs=1e-300)
    assert sign_test(wins, losses) == sign_test(losses, wins)


def test_ratio_of_a_column_with_itself_is_exactly_one_and_of_zeros_zero() -> None:
    gap = np.random.default_rng(0).normal(1.0, 1.0, 200)
    assert ratio(gap, gap) == Estimate(1.0, 1.0, 1.0)
    assert ratio(np.zeros(200), gap) == Estimate(0.0, 0.0, 0.0)


def test_ratio_interval_is_that_of_the_delta_method() -> None:
    rng = np.random.default_rng(1)
    gap = rng.normal(1.0, 0.5, 1_000)
    closed = 0.8 * gap + rng.normal(0.0, 0.3, 1_000)
    found = ratio(closed, gap)
    assert found is not None
    residual = closed - found.value * gap
    half = 1.96 * residual.std() / 1_000**0.5 / gap.mean()
    assert found.value == pytest.approx(closed.mean() / gap.mean())
    # With 2,000 resamples a 95% bound is accurate to a few per cent of the interval.
    assert found.low == pytest.approx(found.value - half, abs=0.15 * half)
    assert found.high == pytest.approx(found.value + half, abs=0.15 * half)


def test_ratio_without_a_gap_is_none() -> None:
    noise = np.random.default_rng(2).normal(0.0, 1.0, 100)
    assert ratio(np.ones(100), noise - noise.mean()) is None
    assert ratio(np.ones(3), np.zeros(3)) is None


def test_sums_by_group_are_those_of_each_name() -> None:
    sums = sums_by_group(np.array([1.0, 2.0, 4.0, 8.0]), np.array(["b", "a", "b", "c"]))
    assert sums.tolist() == [2.0, 5.0, 8.0]


def test_gain_ratio_sums_the_gains_of_each_prompt() -> None:
    rng = np.random.default_rng(4)
    names, reference = np.repeat(np.arange(100).astype(str), 2), rng.normal(1.0, 1.0, 200)
    found = gain_ratio(reference / 2, reference, names)
    assert found == Estimate(0.5, 0.5, 0.5)


def test_compare_counts_half_of_the_ties_and_only_rows_of_the_mask() -> None:
    names = np.arange(5).astype(str)
    before, after = np.zeros(5), np.array([1.0, 0.0, 0.0, -1.0, np.nan])
    mask = np.isfinite(after)
    found = compare(before, after, names, mask)
    assert found is not None and found.num_pairs == 4
    assert found.wins.value == 0.5 and found.gain.value == 0
    assert found == compare(before[mask], after[mask], names[mask])
    assert compare(before, after, names, np.zeros(5, bool)) is None
