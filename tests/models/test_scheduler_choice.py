"""Replacement of the scheduler that belongs to a model."""

import pytest
from diffusers import DPMSolverMultistepScheduler, EulerDiscreteScheduler

from pipeline.diffusion.step import NoiseLevel
from pipeline.errors import ModelError
from pipeline.models.diffusers.denoiser import DiffusersDenoiser
from pipeline.models.diffusers.schedulers import choose_scheduler
from tests.models.tiny import SD_BETAS, tiny_pipeline, tiny_scheduler


def test_a_model_that_came_with_karras_sigmas_and_an_sde_solver_becomes_usable() -> None:
    pipe = tiny_pipeline()
    pipe.scheduler = DPMSolverMultistepScheduler(
        **SD_BETAS, use_karras_sigmas=True, algorithm_type="sde-dpmsolver++"
    )
    unusable = DiffusersDenoiser(pipe, "turbo")
    with pytest.raises(ModelError, match="use_karras_sigmas"):
        unusable.schedule(4)
    with pytest.raises(ModelError, match="draws noise"):
        unusable.own_scheduler(4)
    options = {"use_karras_sigmas": False, "algorithm_type": "dpmsolver++"}
    choose_scheduler(pipe, "turbo", None, options)
    denoiser = DiffusersDenoiser(pipe, "turbo")
    assert denoiser.own_scheduler(4).timesteps == [999, 749, 500, 250]


def test_another_class_takes_over_the_betas_of_the_first() -> None:
    pipe = tiny_pipeline()
    alphas = pipe.scheduler.alphas_cumprod
    options = {"timestep_spacing": "trailing"}
    choose_scheduler(pipe, "tiny", "EulerDiscreteScheduler", options)
    assert type(pipe.scheduler).__name__ == "EulerDiscreteScheduler"
    assert pipe.scheduler.alphas_cumprod.equal(alphas)
    assert DiffusersDenoiser(pipe, "tiny").schedule(4).timesteps == (999, 749, 499, 249)


def test_the_final_level_is_the_schedulers_own_and_that_of_the_published_script_with_ddim() -> None:
    """SDXL has ``set_alpha_to_one: false`` for an Euler scheduler, which does not read it."""
    pipe = tiny_pipeline()
    pipe.scheduler = EulerDiscreteScheduler.from_config(tiny_scheduler().config)
    assert pipe.scheduler.config["set_alpha_to_one"] is False
    assert DiffusersDenoiser(pipe, "tiny").schedule(4).levels[-1] == NoiseLevel.of_alpha(1.0)
    choose_scheduler(pipe, "tiny", "DDIMScheduler", {})
    first = float(pipe.scheduler.alphas_cumprod[0])
    assert DiffusersDenoiser(pipe, "tiny").schedule(4).levels[-1] == NoiseLevel.of_alpha(first)


@pytest.mark.parametrize("name", ["NoSuchScheduler", "UNet2DConditionModel", "utils"])
def test_what_is_no_scheduler_is_refused_with_the_models_own(name: str) -> None:
    with pytest.raises(ModelError, match=rf"tiny: '{name}' .* DDIMScheduler"):
        choose_scheduler(tiny_pipeline(), "tiny", name, {})


def test_an_option_that_the_scheduler_does_not_have_is_refused_with_those_it_has() -> None:
    with pytest.raises(ModelError, match=r"no option 'spacing' .* it has .*timestep_spacing"):
        choose_scheduler(tiny_pipeline(), "tiny", None, {"spacing": "trailing"})
