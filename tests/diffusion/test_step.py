"""Steps against diffusers' schedulers, an independent implementation of the same equations."""

from itertools import pairwise

import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddim_inverse import DDIMInverseScheduler
from diffusers.schedulers.scheduling_flow_match_euler_discrete import (
    FlowMatchEulerDiscreteScheduler,
)
from torch import Tensor

from pipeline.diffusion.schedule import (
    NoiseLevel,
    Prediction,
    Schedule,
    denoise_step,
    invert_step,
    kappa,
    step_coefficients,
)
from tests.models.diffusers.tiny import SD_BETAS

PREDICTIONS: tuple[Prediction, ...] = ("epsilon", "v_prediction")
SHAPES = [(2, 4, 8, 8), (1, 16, 3, 4, 4), (3, 7)]


def ddim(steps: int, **options: object) -> DDIMScheduler:
    scheduler = DDIMScheduler(
        **{
            **SD_BETAS,
            "clip_sample": False,
            "set_alpha_to_one": False,
            "steps_offset": 1,
            **options,
        }
    )
    scheduler.set_timesteps(steps)
    return scheduler


def levels(scheduler: DDIMScheduler) -> list[NoiseLevel]:
    timesteps = scheduler.timesteps.tolist()
    alphas = [*(scheduler.alphas_cumprod[t] for t in timesteps), scheduler.final_alpha_cumprod]
    return [NoiseLevel.of_alpha(float(alpha)) for alpha in alphas]


def relative(actual: Tensor, expected: Tensor) -> float:
    return float((actual - expected).norm() / expected.norm())


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("steps", [4, 10, 50])
def test_inversion_with_the_same_output_returns_the_latents(
    prediction: Prediction, shape: tuple[int, ...], steps: int
) -> None:
    torch.manual_seed(0)
    for noisy, clean in pairwise(levels(ddim(steps))):
        x, output = torch.randn(shape), torch.randn(shape)
        down = denoise_step(x, output, noisy, clean, prediction)
        up = invert_step(down, output, clean, noisy, prediction)
        assert up.dtype == torch.float32
        assert relative(up, x) <= 1e-6


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("steps", [4, 10, 50])
def test_steps_and_trajectory_equal_diffusers(
    prediction: Prediction, spacing: str, steps: int
) -> None:
    scheduler = ddim(steps, prediction_type=prediction, timestep_spacing=spacing)
    torch.manual_seed(1)
    latents = trajectory = torch.randn(2, 4, 8, 8)
    reference = latents
    for t, (noisy, clean) in zip(scheduler.timesteps, pairwise(levels(scheduler)), strict=True):
        output = torch.randn(2, 4, 8, 8)
        step = denoise_step(reference, output, noisy, clean, prediction)
        trajectory = denoise_step(trajectory, output, noisy, clean, prediction)
        reference = scheduler.step(output, t, reference).prev_sample
        assert relative(step, reference) <= 1e-5
    assert relative(trajectory, reference) <= 1e-5


@pytest.mark.parametrize("steps", [4, 10, 50])
def test_inverse_steps_and_trajectory_equal_diffusers_called_with_the_noisier_timestep(
    steps: int,
) -> None:
    """diffusers since 0.22 moves t - Δ → t, so the step up to t_j is called with t_j."""
    forward = ddim(steps)
    inverse = DDIMInverseScheduler(
        **SD_BETAS, clip_sample=False, set_alpha_to_one=False, steps_offset=1
    )
    inverse.set_timesteps(steps)
    torch.manual_seed(2)
    trajectory = reference = torch.randn(2, 4, 8, 8)
    upward = list(zip(forward.timesteps, pairwise(levels(forward)), strict=True))[::-1]
    for t, (noisy, clean) in upward:
        eps = torch.randn(2, 4, 8, 8)
        step = invert_step(reference, eps, clean, noisy)
        trajectory = invert_step(trajectory, eps, clean, noisy)
        reference = inverse.step(eps, t, reference).prev_sample
        assert relative(step, reference) <= 1e-5
    assert relative(trajectory, reference) <= 1e-5


def test_v_prediction_inverse_undoes_the_step_that_diffusers_inverse_does_not() -> None:
    forward = ddim(10, prediction_type="v_prediction")
    inverse = DDIMInverseScheduler(
        **SD_BETAS,
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="v_prediction",
    )
    inverse.set_timesteps(10)
    torch.manual_seed(3)
    x, velocity = torch.randn(2, 2, 4, 8, 8)
    theirs = []
    for t, (noisy, clean) in zip(forward.timesteps, pairwise(levels(forward)), strict=True):
        down = forward.step(velocity, t, x).prev_sample
        assert relative(invert_step(down, velocity, clean, noisy, "v_prediction"), x) <= 1e-6
        theirs.append(relative(inverse.step(velocity, t, down).prev_sample, x))
    assert max(theirs) > 0.05


@pytest.mark.parametrize(("steps", "expected"), [(50, 0.110), (10, 0.385), (4, 0.5885)])
def test_kappa_of_the_first_step_is_the_published_closed_form(steps: int, expected: float) -> None:
    noisy, clean = levels(ddim(steps))[:2]
    assert kappa("epsilon", noisy, clean) == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize("steps", [4, 10, 50])
def test_kappa_is_what_the_schedulers_of_diffusers_do_to_a_noise(steps: int) -> None:
    """From x = 0, down with ε = 0 and up with ε = 1 ends at κ."""
    forward = ddim(steps)
    inverse = DDIMInverseScheduler(
        **SD_BETAS, clip_sample=False, set_alpha_to_one=False, steps_offset=1
    )
    inverse.set_timesteps(steps)
    zero, one = torch.zeros(1), torch.ones(1)
    for t, (noisy, clean) in zip(forward.timesteps, pairwise(levels(forward)), strict=True):
        down = forward.step(zero, t, zero).prev_sample
        up = inverse.step(one, t, down).prev_sample
        assert kappa("epsilon", noisy, clean) == pytest.approx(float(up), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("steps", [4, 10, 50])
def test_down_and_up_again_moves_the_noise_by_kappa_times_the_difference_of_eps(
    steps: int,
) -> None:
    torch.manual_seed(4)
    x, eps_den, eps_inv = torch.randn(3, 2, 4, 8, 8)
    for noisy, clean in pairwise(levels(ddim(steps))):
        down = denoise_step(x, eps_den, noisy, clean)
        up = invert_step(down, eps_inv, clean, noisy)
        assert relative(up, x + kappa("epsilon", noisy, clean) * (eps_inv - eps_den)) <= 1e-6


def test_the_trap_of_one_level_off_is_not_what_a_round_trip_does() -> None:
    """An inversion that starts a level too clean would be x' = 1.079·x - 0.416·ε + 0.342·ε."""
    noisy, clean, cleaner = levels(ddim(10))[:3]
    down = step_coefficients("epsilon", noisy, clean)
    off = step_coefficients("epsilon", clean, cleaner)
    assert down.p / off.p == pytest.approx(1.079, abs=5e-4)
    assert down.q / off.p == pytest.approx(-0.416, abs=5e-4)
    assert -off.q / off.p == pytest.approx(0.342, abs=5e-4)
    assert -down.q / down.p == pytest.approx(0.385, abs=5e-4)


def test_v_and_epsilon_form_of_one_prediction_make_the_same_step() -> None:
    torch.manual_seed(6)
    x, velocity = torch.randn(2, 2, 4, 8, 8)
    for noisy, clean in pairwise(levels(ddim(10))):
        eps = noisy.noise * x + noisy.signal * velocity
        step = denoise_step(x, velocity, noisy, clean, "v_prediction")
        assert relative(step, denoise_step(x, eps, noisy, clean)) <= 1e-6


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("steps", [4, 28])
def test_flow_steps_equal_diffusers_and_their_inversion_returns_the_latents(
    shift: float, steps: int
) -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(steps)
    schedule = Schedule.of_sigmas(scheduler.timesteps.tolist(), scheduler.sigmas.tolist())
    torch.manual_seed(8)
    reference = torch.randn(2, 16, 8, 8)
    for step, t in enumerate(scheduler.timesteps):
        velocity = torch.randn(2, 16, 8, 8)
        down = schedule.denoise(reference, velocity, step)
        assert relative(schedule.invert(down, velocity, step), reference) <= 1e-6
        reference = scheduler.step(velocity, t, reference).prev_sample
        assert relative(down, reference) <= 1e-6


def test_one_euler_step_of_the_whole_flow_ends_at_the_data_that_its_velocity_points_to() -> None:
    torch.manual_seed(9)
    x_0, noise = torch.randn(2, 2, 4, 8, 8)
    schedule = Schedule.of_sigmas([1000.0], [1.0, 0.0])
    torch.testing.assert_close(schedule.denoise(noise, noise - x_0, 0), x_0)


def test_zero_terminal_snr_works_for_v_and_is_refused_for_epsilon() -> None:
    scheduler = ddim(
        10,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
    )
    noisy, clean = levels(scheduler)[:2]
    assert noisy.signal == 0
    torch.manual_seed(7)
    x, velocity = torch.randn(2, 2, 4, 8, 8)
    down = denoise_step(x, velocity, noisy, clean, "v_prediction")
    reference = scheduler.step(velocity, scheduler.timesteps[0], x).prev_sample
    assert relative(down, reference) <= 1e-5
    assert relative(invert_step(down, velocity, clean, noisy, "v_prediction"), x) <= 1e-5
    with pytest.raises(ValueError, match="zero terminal SNR"):
        step_coefficients("epsilon", noisy, clean)
