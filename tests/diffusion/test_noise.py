"""Source noise from its seed, and statistics against SciPy and closed forms."""

import numpy as np
import pytest
import torch
from scipy import stats

from pipeline.core.errors import UserError
from pipeline.diffusion.noise import as_model_input, noise_stats, source_noise, stored

SHAPE = (4, 16, 16)


def test_source_noise_is_the_documented_formula_bit_for_bit() -> None:
    generator = torch.Generator("cpu").manual_seed(1234)
    expected = torch.randn(SHAPE, generator=generator, dtype=torch.float32)
    assert torch.equal(source_noise(1234, SHAPE), expected)


def test_source_noise_depends_on_its_seed_alone() -> None:
    first = source_noise(7, SHAPE)
    torch.manual_seed(99)
    torch.randn(5)
    source_noise(8, SHAPE)
    assert torch.equal(source_noise(7, SHAPE), first)
    assert not torch.equal(source_noise(8, SHAPE), first)


def test_source_noise_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    source_noise(7, SHAPE)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_source_noise_takes_every_seed_that_a_cpu_generator_tells_apart() -> None:
    assert source_noise(2**32 - 1, SHAPE).isfinite().all()
    aliased = torch.Generator("cpu").manual_seed(2**32 + 7)
    assert torch.equal(torch.randn(SHAPE, generator=aliased), source_noise(7, SHAPE))


@pytest.mark.parametrize("seed", [-1, 2**32, 2**40])
def test_source_noise_of_a_seed_beyond_32_bits_is_refused(seed: int) -> None:
    with pytest.raises(UserError, match=str(seed)):
        source_noise(seed, SHAPE)


def test_stored_noise_is_the_nearest_float16_and_goes_back_unchanged() -> None:
    noise = source_noise(3, SHAPE)
    fed = as_model_input(stored(noise))
    assert stored(noise).dtype == torch.float16
    assert fed.dtype == torch.float32
    assert np.array_equal(fed.numpy(), noise.numpy().astype(np.float16).astype(np.float32))
    assert torch.equal(stored(fed), stored(noise))


def test_noise_stats_equal_scipy() -> None:
    source = source_noise(1, SHAPE)
    golden = source + 0.2 * source_noise(2, SHAPE).abs()
    result = noise_stats(source, golden)
    assert result is not None
    x, y = source.double().numpy().ravel(), golden.double().numpy().ravel()
    assert result.cosine == pytest.approx(x @ y / np.sqrt(x @ x * (y @ y)), rel=1e-12)
    assert result.relative_change == pytest.approx(
        np.linalg.norm(y - x) / np.linalg.norm(x), rel=1e-12
    )
    assert result.mean == pytest.approx(y.mean(), rel=1e-12)
    assert result.std == pytest.approx(y.std(), rel=1e-12)
    assert result.kurtosis == pytest.approx(stats.kurtosis(y), rel=1e-10)


def test_noise_stats_of_a_noise_and_itself() -> None:
    noise = source_noise(1, SHAPE)
    result = noise_stats(noise, noise.clone())
    assert result is not None
    assert result.cosine == pytest.approx(1, abs=1e-12)
    assert result.relative_change == 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_noise_stats_of_a_noise_that_is_not_finite_are_none(bad: float) -> None:
    golden = source_noise(1, SHAPE)
    golden[0, 0, 0] = bad
    assert noise_stats(source_noise(1, SHAPE), golden) is None


def test_noise_stats_of_a_constant_noise_are_none() -> None:
    assert noise_stats(source_noise(1, SHAPE), torch.zeros(SHAPE)) is None


def test_noise_stats_of_two_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        noise_stats(torch.zeros(4), torch.zeros(2, 2))
