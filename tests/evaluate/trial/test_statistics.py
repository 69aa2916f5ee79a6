"""The trial's own statistics, against scipy, closed forms and brute force."""

import numpy as np
import pytest
import torch
from scipy import stats

from pipeline.evaluate.statistics import Estimate
from pipeline.evaluate.trial.diversity import mean_pairwise_distance
from pipeline.evaluate.trial.ratio import ratio, sums_by_group
from pipeline.evaluate.trial.sign_test import sign_test
from pipeline.evaluate.trial.spectrum import radial_power


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
    # 2,000 resamples tell a 95% bound to some hundredths of the interval.
    assert found.low == pytest.approx(found.value - half, abs=0.15 * half)
    assert found.high == pytest.approx(found.value + half, abs=0.15 * half)


def test_ratio_without_a_gap_is_none() -> None:
    noise = np.random.default_rng(2).normal(0.0, 1.0, 100)
    assert ratio(np.ones(100), noise - noise.mean()) is None
    assert ratio(np.ones(3), np.zeros(3)) is None


def test_sums_by_group_are_those_of_each_name() -> None:
    sums = sums_by_group(np.array([1.0, 2.0, 4.0, 8.0]), np.array(["b", "a", "b", "c"]))
    assert sums.tolist() == [2.0, 5.0, 8.0]


def test_distance_of_black_white_and_grey_is_the_mean_over_pairs() -> None:
    images = torch.tensor([0, 255, 51], dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 2, 2, 3)
    assert mean_pairwise_distance(images) == pytest.approx((1.0 + 0.2 + 0.8) / 3)
    assert mean_pairwise_distance(images[:1].expand(4, 2, 2, 3)) == 0.0
    assert np.isnan(mean_pairwise_distance(images[:1]))


def test_spectrum_of_white_noise_is_one_at_every_frequency() -> None:
    noise = np.random.default_rng(3).normal(size=(4_000, 16, 16)).astype(np.float32)
    assert radial_power(noise) == pytest.approx(np.ones(12), abs=0.03)


@pytest.mark.parametrize("waves", [0, 1, 3, 8])
def test_spectrum_of_a_wave_is_at_its_frequency_alone(waves: int) -> None:
    wave = np.cos(2 * np.pi * waves * np.arange(16) / 16)
    power = radial_power(np.broadcast_to(wave, (2, 16, 16)).astype(np.float32))
    assert power.argmax() == waves
    assert np.delete(power, waves) == pytest.approx(0, abs=1e-6)


def test_spectrum_keeps_the_power_of_what_is_not_square() -> None:
    maps = np.random.default_rng(4).normal(size=(3, 8, 12)).astype(np.float32)
    rows, columns = np.fft.fftfreq(8)[:, None], np.fft.fftfreq(12)[None, :]
    ring = np.rint(np.hypot(rows, columns) * 8).astype(int)
    total = radial_power(maps) @ np.bincount(ring.ravel())
    assert total == pytest.approx((maps**2).sum() / 3, rel=1e-5)
