"""Levels against the schedulers of diffusers."""

from math import sqrt

import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler

from pipeline.config.proposers import Spacing
from pipeline.core.errors import UserError
from pipeline.diffusion.schedule import Schedule, spaced_timesteps
from tests.diffusion.gaussian import GaussianDenoiser
from tests.models.diffusers.tiny import SD_BETAS

ALPHAS = torch.linspace(0.99, 0.01, 100, dtype=torch.float64)


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("steps", [1, 2, 4, 7, 10, 20, 30, 50, 333, 999])
def test_spaced_timesteps_equal_those_of_diffusers(
    spacing: Spacing, offset: int, steps: int
) -> None:
    scheduler = DDIMScheduler(**SD_BETAS, timestep_spacing=spacing, steps_offset=offset)
    scheduler.set_timesteps(steps)
    assert spaced_timesteps(1000, steps, spacing, offset) == scheduler.timesteps.tolist()


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_schedule_of_a_model_in_another_spacing_has_the_timesteps_of_diffusers(
    spacing: Spacing,
) -> None:
    scheduler = DDIMScheduler(**SD_BETAS, timestep_spacing=spacing, steps_offset=1)
    scheduler.set_timesteps(10)
    schedule = GaussianDenoiser("epsilon").schedule(10, spacing)
    assert list(schedule.timesteps) == scheduler.timesteps.tolist()


@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_spaced_timesteps_of_an_impossible_count_are_refused(steps: int) -> None:
    with pytest.raises(UserError, match=f"1 … 1000, not {steps}"):
        spaced_timesteps(1000, steps, "leading")


def test_schedule_levels_are_the_timesteps_alphas_and_the_final_one() -> None:
    schedule = Schedule.of_alphas("epsilon", ALPHAS, [90, 50, 10], 1.0)
    assert schedule.timesteps == (90, 50, 10)
    alphas = [*(float(ALPHAS[t]) for t in (90, 50, 10)), 1.0]
    assert schedule.levels == tuple((sqrt(alpha), sqrt(1 - alpha)) for alpha in alphas)
    assert len(schedule) == 3
    assert schedule.step_levels(2) == (schedule.levels[2], (1.0, 0.0))


@pytest.mark.parametrize("timesteps", [[], [10, 50], [50, 50, 10], [100], [-1]])
def test_schedule_of_impossible_timesteps_is_refused(timesteps: list[int]) -> None:
    with pytest.raises(UserError):
        Schedule.of_alphas("epsilon", ALPHAS, timesteps, 1.0)


@pytest.mark.parametrize("final", [0.01, 1.01, float("nan")])
def test_schedule_with_a_final_alpha_that_is_not_the_cleanest_is_refused(final: float) -> None:
    with pytest.raises(UserError, match="final"):
        Schedule.of_alphas("epsilon", ALPHAS, [50, 10], final)


def test_schedule_of_1000_leading_steps_with_offset_says_that_it_leaves_the_training_range() -> (
    None
):
    timesteps = spaced_timesteps(1000, 1000, "leading", 1)
    alphas = DDIMScheduler(**SD_BETAS).alphas_cumprod
    with pytest.raises(UserError, match=r"timestep 1000 .* use fewer steps"):
        Schedule.of_alphas("epsilon", alphas, timesteps, 1.0)
