"""Noise levels and timesteps that are read from the scheduler of a model."""

from pathlib import Path

import pytest
from diffusers import (
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
)

from pipeline.core.errors import ModelError
from pipeline.diffusion.schedule import NoiseLevel
from pipeline.models.diffusers.denoiser import DiffusersDenoiser
from tests.models.diffusers.families.tiny_pipelines import build
from tests.models.diffusers.tiny import (
    SD_BETAS,
    edit,
    load,
    tiny_pipeline,
    tiny_scheduler,
)


def test_levels_are_those_of_the_models_scheduler(folder: Path) -> None:
    denoiser = load(folder)
    scheduler = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None).scheduler
    scheduler.set_timesteps(10)
    schedule = denoiser.schedule(10)
    timesteps = scheduler.timesteps.tolist()
    assert list(schedule.timesteps) == timesteps
    assert schedule.prediction == scheduler.config.prediction_type
    alphas = [float(scheduler.alphas_cumprod[t]) for t in timesteps]
    levels = map(NoiseLevel.of_alpha, [*alphas, float(scheduler.final_alpha_cumprod)])
    assert schedule.levels == tuple(levels)


@pytest.mark.parametrize(
    ("scheduler", "expected"),
    [
        (PNDMScheduler(**SD_BETAS, steps_offset=1, skip_prk_steps=True), (751, 501, 251, 1)),
        (
            DDPMScheduler(
                **SD_BETAS, steps_offset=1, timestep_spacing="leading", clip_sample=False
            ),
            (751, 501, 251, 1),
        ),
        (
            EulerDiscreteScheduler(**SD_BETAS, steps_offset=1, timestep_spacing="leading"),
            (751, 501, 251, 1),
        ),
        (DPMSolverMultistepScheduler(**SD_BETAS), (999, 749, 500, 250)),
    ],
)
def test_timesteps_of_other_schedulers_are_in_their_own_spacing(
    scheduler: object, expected: tuple[int, ...]
) -> None:
    pipe = tiny_pipeline()
    pipe.scheduler = scheduler
    assert DiffusersDenoiser(pipe, "tiny").schedule(4).timesteps == expected


@pytest.mark.parametrize("offset", [0, 1, 3])
def test_leading_spacing_has_the_offset_of_the_models_scheduler(offset: int) -> None:
    pipe = build("stable_diffusion_xl")
    pipe.scheduler = tiny_scheduler(steps_offset=offset, timestep_spacing="trailing")
    denoiser = DiffusersDenoiser(pipe, "tiny", height=16, width=16)
    expected = tiny_scheduler(steps_offset=offset, timestep_spacing="leading")
    expected.set_timesteps(4)
    assert denoiser.schedule(4, "leading").timesteps == tuple(expected.timesteps.tolist())
    assert denoiser.schedule(4, "trailing").timesteps == (999, 749, 499, 249)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clip_sample": True}, "clip_sample"),
        ({"thresholding": True}, "thresholding"),
        ({"prediction_type": "sample"}, "prediction_type 'sample'"),
        ({"rescale_betas_zero_snr": True}, "rescale_betas_zero_snr"),
    ],
)
def test_a_scheduler_that_cannot_be_inverted_is_rejected(
    broken: Path, changes: dict[str, object], message: str
) -> None:
    edit(broken / "scheduler/scheduler_config.json", **changes)
    with pytest.raises(ModelError, match=f"{broken}.*{message}"):
        load(broken)


def test_an_unsupported_scheduler_is_rejected_with_the_supported_ones() -> None:
    pipe = tiny_pipeline()
    pipe.scheduler = HeunDiscreteScheduler(**SD_BETAS)
    with pytest.raises(ModelError, match=r"HeunDiscreteScheduler .* DDIMScheduler"):
        DiffusersDenoiser(pipe, "tiny")


def test_karras_sigmas_and_fractional_timesteps_are_rejected() -> None:
    pipe = tiny_pipeline()
    pipe.scheduler = EulerDiscreteScheduler(**SD_BETAS, use_karras_sigmas=True)
    with pytest.raises(ModelError, match="use_karras_sigmas"):
        DiffusersDenoiser(pipe, "tiny").schedule(4)
    pipe.scheduler = EulerDiscreteScheduler(**SD_BETAS)
    with pytest.raises(ModelError, match=r"fractional .* num_inference_steps=7"):
        DiffusersDenoiser(pipe, "tiny").schedule(7)
