"""Schedulers of models: sampling with them, compared with the pipeline, and their replacement."""

from typing import Any

import pytest
import torch
from diffusers import (
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    PNDMScheduler,
)
from torch import Tensor

from pipeline.config.proposers import RedenoiseSettings
from pipeline.core.errors import ModelError
from pipeline.diffusion.noise import source_noise
from pipeline.diffusion.redenoise import redenoise
from pipeline.diffusion.sample import sample_latents
from pipeline.diffusion.schedule import NoiseLevel
from pipeline.models.diffusers.denoiser import DiffusersDenoiser
from pipeline.models.diffusers.schedulers import Option, choose_scheduler
from tests.models.diffusers.families.tiny_pipelines import build
from tests.models.diffusers.tiny import SD_BETAS, tiny_pipeline, tiny_scheduler

PROMPTS = ["a red apple", "x"]
STEPS = 4
SIZE: dict[str, Any] = {"height": 16, "width": 16}


def denoiser_with(name: str, scheduler: Any) -> DiffusersDenoiser:
    pipe = build(name)
    pipe.scheduler = scheduler
    return DiffusersDenoiser(pipe, name, **SIZE)


@pytest.mark.parametrize(
    ("name", "scheduler"),
    [
        ("stable_diffusion_xl", DPMSolverMultistepScheduler(**SD_BETAS, steps_offset=1)),
        (
            "stable_diffusion_xl",
            EulerDiscreteScheduler(**SD_BETAS, timestep_spacing="trailing", steps_offset=1),
        ),
        ("stable_diffusion_xl", tiny_scheduler()),
        ("stable_diffusion_xl", EulerDiscreteScheduler(**SD_BETAS, use_karras_sigmas=True)),
        ("stable_diffusion_xl", DPMSolverMultistepScheduler(**SD_BETAS, use_karras_sigmas=True)),
        ("stable_diffusion_xl", DPMSolverMultistepScheduler(**SD_BETAS, use_lu_lambdas=True)),
        ("pixart_sigma", DPMSolverMultistepScheduler(beta_start=0.0001, beta_end=0.02)),
        ("stable_diffusion_3", FlowMatchEulerDiscreteScheduler(shift=3.0)),
    ],
)
def test_images_equal_those_of_the_pipelines_call(name: str, scheduler: Any) -> None:
    denoiser = denoiser_with(name, scheduler)
    prompts = denoiser.encode_prompts(PROMPTS)
    x_T = torch.stack([source_noise(seed, denoiser.latent_shape) for seed in range(2)])
    latents = sample_latents(denoiser, prompts, x_T, STEPS, 3.0, "model")
    again = sample_latents(denoiser, prompts, x_T, STEPS, 3.0, "model")
    assert torch.equal(latents, again)
    traced = denoiser._traced
    each = [(traced.encode(p, negative=False), traced.encode("", negative=True)) for p in PROMPTS]
    inputs = {name: torch.cat([positive[name] for positive, _ in each]) for name in each[0][0]}
    inputs |= {f"negative_{k}": torch.cat([n[k] for _, n in each]) for k in each[0][1]}
    expected = denoiser._pipe(
        **{**traced.family.call_options, **SIZE, **inputs},
        latents=x_T,
        num_inference_steps=STEPS,
        guidance_scale=3.0,
        output_type="pt",
        return_dict=False,
    )[0]
    torch.testing.assert_close(denoiser.decode(latents), expected, rtol=0, atol=1e-5)


def test_sampling_with_a_models_ddim_equals_our_steps() -> None:
    denoiser = denoiser_with("stable_diffusion_xl", tiny_scheduler())
    prompts = denoiser.encode_prompts(PROMPTS[:1])
    x_T = source_noise(0, denoiser.latent_shape)[None]
    native = sample_latents(denoiser, prompts, x_T, STEPS, 3.0, "model")
    ours = sample_latents(denoiser, prompts, x_T, STEPS, 3.0)
    torch.testing.assert_close(native, ours, rtol=0, atol=1e-4)


def test_levels_between_those_of_the_training_allow_redenoising_with_a_spacing() -> None:
    scheduler = EulerDiscreteScheduler(**SD_BETAS, use_karras_sigmas=True)
    denoiser = denoiser_with("stable_diffusion_xl", scheduler)
    assert len(denoiser.native_scheduler(STEPS).timesteps) == STEPS
    with pytest.raises(ModelError, match=r"use_karras_sigmas .* set timestep_spacing"):
        denoiser.schedule(STEPS)
    plain = denoiser_with("stable_diffusion_xl", EulerDiscreteScheduler(**SD_BETAS))
    assert denoiser.schedule(STEPS, "trailing") == plain.schedule(STEPS, "trailing")
    prompts = denoiser.encode_prompts(PROMPTS[:1])
    settings = RedenoiseSettings(
        num_inference_steps=STEPS, guidance_scale=5.5, timestep_spacing="trailing"
    )
    x_T = source_noise(0, denoiser.latent_shape)[None]
    golden = [redenoise(d, prompts, x_T, settings).latents for d in (denoiser, plain)]
    assert torch.equal(*golden)


def test_dpm_solver_of_order_1_is_ddim_and_of_order_2_is_not() -> None:
    """On ᾱ, DPM-Solver++ of order 1 is DDIM (arXiv 2211.01095, section 4)."""
    images: dict[int | str, Tensor] = {}
    for order in (1, 2):
        scheduler = DPMSolverMultistepScheduler(
            **SD_BETAS, steps_offset=1, timestep_spacing="leading", solver_order=order
        )
        denoiser = denoiser_with("stable_diffusion_xl", scheduler)
        prompts = denoiser.encode_prompts(PROMPTS[:1])
        x_T = source_noise(0, denoiser.latent_shape)[None]
        images[order] = sample_latents(denoiser, prompts, x_T, STEPS, 3.0, "model")
        images["ddim"] = sample_latents(denoiser, prompts, x_T, STEPS, 3.0)
    # Its last step, to σ = 0, and that to ᾱ = 1 are the same only in exact arithmetic.
    torch.testing.assert_close(images[1], images["ddim"], rtol=0, atol=1e-4)
    assert float((images[2] - images["ddim"]).norm() / images["ddim"].norm()) > 1e-3


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        (DDPMScheduler(**SD_BETAS, clip_sample=False), "DDPMScheduler draws noise"),
        (
            DPMSolverMultistepScheduler(**SD_BETAS, algorithm_type="sde-dpmsolver++"),
            "DPMSolverMultistepScheduler draws noise",
        ),
        (PNDMScheduler(**SD_BETAS, skip_prk_steps=True), "evaluates the network 5 times in 4"),
    ],
)
def test_a_scheduler_that_draws_noise_or_evaluates_more_is_rejected(
    scheduler: Any, message: str
) -> None:
    denoiser = denoiser_with("stable_diffusion", scheduler)
    with pytest.raises(ModelError, match=f"stable_diffusion: .*{message}.* scheduler = 'ddim'"):
        denoiser.native_scheduler(STEPS)


def test_a_model_that_came_with_karras_sigmas_and_an_sde_solver_becomes_usable() -> None:
    pipe = tiny_pipeline()
    pipe.scheduler = DPMSolverMultistepScheduler(
        **SD_BETAS, use_karras_sigmas=True, algorithm_type="sde-dpmsolver++"
    )
    unusable = DiffusersDenoiser(pipe, "turbo")
    with pytest.raises(ModelError, match="use_karras_sigmas"):
        unusable.schedule(4)
    with pytest.raises(ModelError, match="draws noise"):
        unusable.native_scheduler(4)
    options: dict[str, Option] = {"use_karras_sigmas": False, "algorithm_type": "dpmsolver++"}
    choose_scheduler(pipe, "turbo", None, options)
    denoiser = DiffusersDenoiser(pipe, "turbo")
    assert denoiser.native_scheduler(4).timesteps == [999, 749, 500, 250]


def test_another_scheduler_class_keeps_the_betas() -> None:
    pipe = tiny_pipeline()
    alphas = pipe.scheduler.alphas_cumprod
    options = {"timestep_spacing": "trailing"}
    choose_scheduler(pipe, "tiny", "EulerDiscreteScheduler", options)
    assert type(pipe.scheduler).__name__ == "EulerDiscreteScheduler"
    assert pipe.scheduler.alphas_cumprod.equal(alphas)
    assert DiffusersDenoiser(pipe, "tiny").schedule(4).timesteps == (999, 749, 499, 249)


def test_the_final_level_is_that_of_the_scheduler_and_differs_for_ddim() -> None:
    """SDXL has ``set_alpha_to_one: false`` for an Euler scheduler, which does not read it."""
    pipe = tiny_pipeline()
    pipe.scheduler = EulerDiscreteScheduler.from_config(tiny_scheduler().config)
    assert pipe.scheduler.config["set_alpha_to_one"] is False
    assert DiffusersDenoiser(pipe, "tiny").schedule(4).levels[-1] == NoiseLevel.of_alpha(1.0)
    choose_scheduler(pipe, "tiny", "DDIMScheduler", {})
    first = float(pipe.scheduler.alphas_cumprod[0])
    assert DiffusersDenoiser(pipe, "tiny").schedule(4).levels[-1] == NoiseLevel.of_alpha(first)


@pytest.mark.parametrize("name", ["NoSuchScheduler", "UNet2DConditionModel", "utils"])
def test_a_class_that_is_not_a_scheduler_is_rejected(name: str) -> None:
    with pytest.raises(ModelError, match=rf"tiny: '{name}' .* DDIMScheduler"):
        choose_scheduler(tiny_pipeline(), "tiny", name, {})


def test_an_unknown_scheduler_option_is_rejected_with_the_known_ones() -> None:
    with pytest.raises(ModelError, match=r"no option 'spacing' .* it has .*timestep_spacing"):
        choose_scheduler(tiny_pipeline(), "tiny", None, {"spacing": "trailing"})
