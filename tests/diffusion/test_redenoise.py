"""Re-denoising against closed forms (Gaussian data) and on the UNets of untrained models."""

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from pipeline.diffusion.ddim import kappa, step_coefficients
from pipeline.diffusion.guidance import guided_prediction
from pipeline.diffusion.redenoise import (
    RedenoiseSettings,
    redenoise,
    redenoise_evaluations,
)
from pipeline.diffusion.schedule import Schedule, Spacing
from pipeline.errors import UserError
from pipeline.models.denoiser import Prediction
from pipeline.models.stable_diffusion import StableDiffusionDenoiser
from tests.diffusion.gaussian import GaussianDenoiser, guided_factor

WIDTHS = [0.3, 0.6, 1.4]
PROMPTS = ["a red circle", "blue square", "z", "a small and big"]


def relative_errors(actual: Tensor, expected: Tensor) -> Tensor:
    return (actual - expected).flatten(1).norm(dim=1) / expected.flatten(1).norm(dim=1)


def closed_form(denoiser: GaussianDenoiser, width: float, settings: RedenoiseSettings) -> float:
    """golden / source, by multiplying the factors of the single steps."""
    schedule = Schedule.of(denoiser, settings.num_inference_steps, settings.timestep_spacing)
    ratio = 1.0
    for step in range(settings.num_steps):
        noisy, clean = schedule.step_levels(step)
        p, q = step_coefficients(denoiser.prediction, noisy, clean)
        down, up = (
            guided_factor(denoiser.prediction, noisy, width, denoiser.unconditional_width, scale)
            for scale in (settings.guidance_scale, settings.inversion_guidance_scale)
        )
        undo = 1 / (p + q * up) if settings.inversion == "exact" else (1 - q * up) / p
        ratio *= (p + q * down) * undo
    return ratio


def steepness(denoiser: GaussianDenoiser, width: float, settings: RedenoiseSettings) -> float:
    """The factor by which the worst step's fixed-point iteration stretches an error."""
    schedule = Schedule.of(denoiser, settings.num_inference_steps, settings.timestep_spacing)
    factors = []
    for step in range(settings.num_steps):
        noisy, clean = schedule.step_levels(step)
        p, q = step_coefficients(denoiser.prediction, noisy, clean)
        scale, other = settings.inversion_guidance_scale, denoiser.unconditional_width
        up = guided_factor(denoiser.prediction, noisy, width, other, scale)
        factors.append(abs(q * up / p))
    return max(factors)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("inversion", ["first_order", "exact"])
@pytest.mark.parametrize(("num_steps", "num_inference_steps"), [(1, 10), (3, 10), (10, 20), (4, 4)])
@pytest.mark.parametrize(("down", "up"), [(5.5, 1.0), (3.0, 0.0), (1.0, 1.0), (2.0, 1.5)])
def test_redenoise_of_gaussian_data_is_the_closed_form(
    noises: Callable[..., Tensor],
    prediction: Prediction,
    inversion: str,
    num_steps: int,
    num_inference_steps: int,
    down: float,
    up: float,
) -> None:
    denoiser = GaussianDenoiser(prediction)
    settings = RedenoiseSettings(
        num_inference_steps=num_inference_steps,
        num_steps=num_steps,
        guidance_scale=down,
        inversion_guidance_scale=up,
        inversion=inversion,  # type: ignore[arg-type]
        tolerance=1e-12,
        max_iterations=500,
    )
    x_T = noises(3, denoiser.latent_shape).double()
    result = redenoise(denoiser, denoiser.encode_widths(WIDTHS), x_T, settings)
    for row, width in enumerate(WIDTHS):
        solvable = inversion == "first_order" or steepness(denoiser, width, settings) < 1
        assert result.converged[row] == solvable
        if solvable:
            expected = closed_form(denoiser, width, settings) * x_T[row]
            torch.testing.assert_close(result.golden_noise[row], expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_redenoise_in_another_spacing_is_the_closed_form_of_its_levels(
    noises: Callable[..., Tensor], spacing: Spacing
) -> None:
    denoiser = GaussianDenoiser("epsilon")
    settings = RedenoiseSettings(num_inference_steps=10, num_steps=3, timestep_spacing=spacing)
    x_T = noises(3, denoiser.latent_shape).double()
    prompts = denoiser.encode_widths(WIDTHS)
    golden = redenoise(denoiser, prompts, x_T, settings).golden_noise
    for row, width in enumerate(WIDTHS):
        expected = closed_form(denoiser, width, settings) * x_T[row]
        torch.testing.assert_close(golden[row], expected, rtol=1e-9, atol=0)
    own = RedenoiseSettings(num_inference_steps=10, num_steps=3)
    assert not torch.equal(golden, redenoise(denoiser, prompts, x_T, own).golden_noise)


def test_exact_redenoise_is_the_same_for_the_epsilon_and_the_v_form_of_one_model(
    noises: Callable[..., Tensor],
) -> None:
    settings = RedenoiseSettings(
        num_inference_steps=10, num_steps=3, inversion="exact", tolerance=1e-12, max_iterations=500
    )
    x_T = noises(3, (2, 3)).double()
    results = []
    for denoiser in (GaussianDenoiser("epsilon"), GaussianDenoiser("v_prediction")):
        prompts = denoiser.encode_widths(WIDTHS)
        results.append(redenoise(denoiser, prompts, x_T, settings).golden_noise)
    torch.testing.assert_close(*results, rtol=1e-9, atol=0)


def test_one_first_order_step_moves_the_noise_by_kappa(
    gentle_denoiser: StableDiffusionDenoiser, noises: Callable[..., Tensor]
) -> None:
    settings = RedenoiseSettings(num_inference_steps=10)
    prompts = gentle_denoiser.encode_prompts(PROMPTS)
    x_T = noises(4, gentle_denoiser.latent_shape)
    schedule = Schedule.of(gentle_denoiser, 10)
    t, (noisy, clean) = schedule.timesteps[0], schedule.step_levels(0)
    p, q = step_coefficients("epsilon", noisy, clean)
    eps_den = guided_prediction(gentle_denoiser, x_T, t, prompts, 5.5)
    eps_inv = gentle_denoiser.predict(p * x_T + q * eps_den, t, prompts.conditional)
    golden = redenoise(gentle_denoiser, prompts, x_T, settings).golden_noise
    expected = x_T + kappa(noisy, clean) * (eps_inv - eps_den)
    assert relative_errors(golden, expected).max() <= 1e-6
    assert relative_errors(golden, x_T).min() > 0.01


@pytest.mark.parametrize(
    ("num_steps", "num_inference_steps"), [(1, 50), (1, 10), (3, 10), (10, 20)]
)
def test_exact_inversion_at_guidance_1_returns_the_source_noise(
    gentle_denoiser: StableDiffusionDenoiser,
    noises: Callable[..., Tensor],
    num_steps: int,
    num_inference_steps: int,
) -> None:
    x_T = noises(4, gentle_denoiser.latent_shape)
    result = redenoise(
        gentle_denoiser,
        gentle_denoiser.encode_prompts(PROMPTS),
        x_T,
        RedenoiseSettings(
            num_inference_steps=num_inference_steps,
            num_steps=num_steps,
            guidance_scale=1.0,
            inversion="exact",
        ),
    )
    assert result.converged.all()
    assert (result.residual <= 1e-5).all()
    assert relative_errors(result.golden_noise, x_T).max() <= 1e-4


def test_first_order_inversion_does_not_return_the_source_noise(
    gentle_denoiser: StableDiffusionDenoiser, noises: Callable[..., Tensor]
) -> None:
    settings = RedenoiseSettings(num_inference_steps=20, num_steps=10, guidance_scale=1.0)
    x_T = noises(4, gentle_denoiser.latent_shape)
    prompts = gentle_denoiser.encode_prompts(PROMPTS)
    result = redenoise(gentle_denoiser, prompts, x_T, settings)
    assert relative_errors(result.golden_noise, x_T).min() > 1e-3
    assert result.iterations.tolist() == [10] * 4


def test_exact_inversion_at_guidance_5_5_says_that_it_did_not_converge(
    steep_denoiser: StableDiffusionDenoiser, noises: Callable[..., Tensor]
) -> None:
    settings = RedenoiseSettings(
        num_inference_steps=20,
        num_steps=10,
        inversion_guidance_scale=5.5,
        inversion="exact",
        max_iterations=30,
    )
    x_T = noises(4, steep_denoiser.latent_shape)
    prompts = steep_denoiser.encode_prompts(PROMPTS)
    result = redenoise(steep_denoiser, prompts, x_T, settings)
    assert not result.converged.all()
    assert torch.equal(result.converged, result.residual <= settings.tolerance)
    # Both scales are equal here, so the truth is known and the flags can be held against it.
    assert (relative_errors(result.golden_noise, x_T)[result.converged] <= 1e-4).all()
    assert relative_errors(result.golden_noise, x_T)[~result.converged].max() > 1e-2


def test_convergence_is_reported_for_each_sample(noises: Callable[..., Tensor]) -> None:
    """A gain makes ε a steeper function of x; the iteration contracts while |κ·slope| < 1."""
    denoiser = GaussianDenoiser()
    settings = RedenoiseSettings(
        num_inference_steps=10, guidance_scale=1.0, inversion="exact", max_iterations=60
    )
    gains = [1.0, 4.0, 1.5, 1e4]
    prompts = denoiser.encode_widths([0.5] * 4, gains)
    schedule = Schedule.of(denoiser, 10)
    slope = kappa(*schedule.step_levels(0)) * guided_factor(
        "epsilon", schedule.alphas[0], 0.5, 0.5, 1
    )
    assert [gain * slope < 1 for gain in gains] == [True, False, True, False]
    x_T = noises(4, denoiser.latent_shape)
    result = redenoise(denoiser, prompts, x_T, settings)
    assert result.converged.tolist() == [True, False, True, False]
    assert result.golden_noise[[0, 2]].isfinite().all()
    assert relative_errors(result.golden_noise, x_T)[[0, 2]].max() <= 1e-4
    assert result.residual.isfinite().tolist() == [True, True, True, False]


@pytest.mark.parametrize("inversion", ["first_order", "exact"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_sample_that_is_not_finite_is_reported_and_leaves_the_others_alone(
    gentle_denoiser: StableDiffusionDenoiser,
    noises: Callable[..., Tensor],
    inversion: str,
    bad: float,
) -> None:
    settings = RedenoiseSettings(
        num_inference_steps=10,
        num_steps=2,
        inversion=inversion,  # type: ignore[arg-type]
    )
    prompts = gentle_denoiser.encode_prompts(PROMPTS)
    x_T = noises(4, gentle_denoiser.latent_shape)
    expected = redenoise(gentle_denoiser, prompts, x_T, settings)
    poisoned = x_T.clone()
    poisoned[1, 0, 0, 0] = bad
    result = redenoise(gentle_denoiser, prompts, poisoned, settings)
    assert result.converged.tolist() == [True, False, True, True]
    assert not result.golden_noise[1].isfinite().all()
    others = [0, 2, 3]
    torch.testing.assert_close(
        result.golden_noise[others], expected.golden_noise[others], rtol=1e-5, atol=1e-6
    )
    assert torch.equal(result.iterations[others], expected.iterations[others])


@pytest.mark.parametrize("inversion", ["first_order", "exact"])
def test_a_sample_does_not_depend_on_its_batch_or_position(
    gentle_denoiser: StableDiffusionDenoiser, noises: Callable[..., Tensor], inversion: str
) -> None:
    settings = RedenoiseSettings(
        num_inference_steps=10,
        num_steps=3,
        inversion=inversion,  # type: ignore[arg-type]
    )
    prompts = gentle_denoiser.encode_prompts(PROMPTS)
    x_T = noises(4, gentle_denoiser.latent_shape)
    whole = redenoise(gentle_denoiser, prompts, x_T, settings)
    for rows in ([0], [3], [2, 1], [3, 2, 1, 0], [1, 1, 0]):
        part = redenoise(gentle_denoiser, prompts.take(rows), x_T[rows], settings)
        expected = whole.golden_noise[rows]
        assert relative_errors(part.golden_noise, expected).max() <= 1e-5
        assert torch.equal(part.converged, whole.converged[rows])


def test_a_converged_sample_stays_as_it_is_while_others_iterate(
    noises: Callable[..., Tensor],
) -> None:
    denoiser = GaussianDenoiser()
    settings = RedenoiseSettings(
        num_inference_steps=10, num_steps=3, guidance_scale=2.0, inversion="exact", tolerance=1e-3
    )
    prompts = denoiser.encode_widths([0.5, 0.5], [1.0, 2.2])
    x_T = noises(2, denoiser.latent_shape)
    alone = redenoise(denoiser, prompts.take([0]), x_T[:1], settings)
    both = redenoise(denoiser, prompts, x_T, settings)
    assert both.iterations[1] > both.iterations[0]
    assert torch.equal(both.golden_noise[:1], alone.golden_noise)
    assert torch.equal(both.residual[:1], alone.residual)
    assert torch.equal(both.iterations[:1], alone.iterations)


@pytest.mark.parametrize("shape", [(5,), (4, 8, 8), (2, 3, 4, 4), (16, 3, 2, 2, 2)])
def test_redenoise_takes_latents_of_any_rank(
    noises: Callable[..., Tensor], shape: tuple[int, ...]
) -> None:
    denoiser = GaussianDenoiser(latent_shape=shape)
    result = redenoise(
        denoiser,
        denoiser.encode_widths([0.5, 0.7]),
        noises(2, shape),
        RedenoiseSettings(num_inference_steps=10, inversion="exact"),
    )
    assert result.golden_noise.shape == (2, *shape)
    assert result.golden_noise.dtype == torch.float32
    assert result.converged.dtype == torch.bool
    assert result.residual.dtype == torch.float32


@pytest.mark.parametrize(("down", "up"), [(5.5, 1.0), (3.0, 2.0), (1.0, 1.0), (5.5, 0.0)])
def test_redenoise_evaluations_are_counted_right(
    noises: Callable[..., Tensor], down: float, up: float
) -> None:
    denoiser = GaussianDenoiser()
    settings = RedenoiseSettings(
        num_inference_steps=10, num_steps=3, guidance_scale=down, inversion_guidance_scale=up
    )
    redenoise(denoiser, denoiser.encode_widths(WIDTHS), noises(3, (2, 3)), settings)
    assert sum(denoiser.calls) == 3 * redenoise_evaluations(settings)


def test_redenoise_evaluations_bound_those_of_the_exact_inversion(
    noises: Callable[..., Tensor],
) -> None:
    settings = RedenoiseSettings(
        num_inference_steps=10, num_steps=2, inversion="exact", max_iterations=7, tolerance=1e-30
    )
    denoiser = GaussianDenoiser()
    x_T = noises(1, (2, 3)).double()
    result = redenoise(denoiser, denoiser.encode_widths([0.5]), x_T, settings)
    assert not result.converged.any()
    assert result.iterations.tolist() == [14]
    assert sum(denoiser.calls) == redenoise_evaluations(settings) == 2 * (2 + 7)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_inference_steps", 0),
        ("num_steps", 0),
        ("num_steps", 11),
        ("guidance_scale", float("nan")),
        ("inversion_guidance_scale", float("inf")),
        ("inversion", "second_order"),
        ("tolerance", 0.0),
        ("tolerance", float("nan")),
        ("max_iterations", 0),
    ],
)
def test_settings_that_are_impossible_are_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(UserError, match=field):
        RedenoiseSettings(**{"num_inference_steps": 10, field: value})  # type: ignore[arg-type]


def test_golden_noise_of_published_settings_is_a_pull_along_the_guidance_direction(
    noises: Callable[..., Tensor],
) -> None:
    """To first order in κ, x' = x - κ·(ω_l - ω_w)·(ε_c - ε_u)."""
    denoiser = GaussianDenoiser()
    width, x_T = 0.5, noises(1, (2, 3)).double()
    errors = []
    for steps in (50, 200):
        settings = RedenoiseSettings(num_inference_steps=steps)
        golden = redenoise(denoiser, denoiser.encode_widths([width]), x_T, settings).golden_noise
        noisy, clean = Schedule.of(denoiser, steps).step_levels(0)
        c, u = (guided_factor("epsilon", noisy, w, w, 1) for w in (width, 0.9))
        pull = -kappa(noisy, clean) * 4.5 * (c - u) * x_T
        errors.append(float((golden - x_T - pull).norm() / pull.norm()))
    assert all(finer < coarser / 2 for coarser, finer in pairwise(errors))
