"""Tests of the spectrum against closed forms."""

import numpy as np
import pytest

from pipeline.evaluate.trial.gallery import radial_power


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
