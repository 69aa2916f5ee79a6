"""Pipelines that do more than call their network are rejected, with the step and the difference."""

from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from pipeline.core.errors import ModelError
from pipeline.models.diffusers.denoiser import DiffusersDenoiser
from tests.models.diffusers.families.tiny_pipelines import build, options_of
from tests.models.diffusers.tiny import tiny_pipeline


def rescaled(pipe: Any) -> Any:
    """Return a pipeline whose call renormalises after guidance (arXiv 2305.08891, section 3.4)."""
    original_call: Any = StableDiffusionPipeline.__call__

    def call(self: Any, **options: Any) -> Any:
        return original_call(self, guidance_rescale=0.7, **options)

    # The class keeps its name, by which its family is found.
    bases = (StableDiffusionPipeline,)
    pipe.__class__ = type("StableDiffusionPipeline", bases, {"__call__": call})
    return pipe


def test_a_renormalisation_after_guidance_is_found_at_its_first_step() -> None:
    with pytest.raises(ModelError) as refused:
        DiffusersDenoiser(rescaled(tiny_pipeline(text_gain=30)), "models/rescaled")
    message = str(refused.value)
    assert message.startswith("models/rescaled: StableDiffusionPipeline does more than call")
    assert "at step 0 of 4 (timestep 751), guidance 3," in message
    assert "differs from ours by 0." in message


def test_a_network_with_a_state_is_found() -> None:
    """The second call with the same inputs has another result, as in a pipeline with a cache."""
    pipe = tiny_pipeline()
    original_forward = pipe.unet.forward
    calls: list[float] = []

    def forward(sample: Tensor, timestep: Any, *args: Any, **options: Any) -> Any:
        calls.append(float(timestep))
        return original_forward(sample, max(timestep - 50 * len(calls), 0), *args, **options)

    pipe.unet.forward = forward
    with pytest.raises(ModelError, match=r"step \d of 4 .* guidance 1,"):
        DiffusersDenoiser(pipe, "odd")
    assert pipe.unet.forward is forward


def test_guidance_that_the_network_does_not_receive_is_rejected() -> None:
    with pytest.raises(ModelError, match="schnell: the network does not receive its guidance"):
        DiffusersDenoiser(
            build("flux_schnell"), "schnell", height=16, width=16, guidance="embedded"
        )


def test_a_size_that_the_pipeline_would_round_is_rejected() -> None:
    with pytest.raises(ModelError, match="images of 22 × 16 pixels, the model makes 20 × 16"):
        DiffusersDenoiser(build("flux"), "flux", height=22, width=16, guidance="embedded")


@pytest.mark.parametrize("name", ["pixart_sigma", "hunyuan_dit", "stable_diffusion_3", "wan"])
def test_an_odd_size_is_rejected_by_every_family(name: str) -> None:
    """Some pipelines refuse it themselves, the others round it."""
    options = options_of(name)
    with pytest.raises(ModelError, match=rf"{name}: .*{options['width'] + 1}"):
        DiffusersDenoiser(build(name), name, **options | {"width": options["width"] + 1})


def test_wan_with_two_networks_is_rejected() -> None:
    pipe = build("wan")
    pipe.register_to_config(boundary_ratio=0.9)
    with pytest.raises(ModelError, match=r"Wan 2\.2 .*boundary_ratio"):
        DiffusersDenoiser(pipe, "wan", height=32, width=32, num_frames=5)


def test_bfloat16_flux_receives_the_timestep_that_its_pipeline_passes() -> None:
    """The pipeline rounds the timestep to bfloat16 before it divides by 1000."""
    pipe = build("flux").to(torch.bfloat16)
    denoiser = DiffusersDenoiser(pipe, "flux", height=16, width=16, guidance="embedded")
    timesteps = torch.tensor(denoiser.schedule(28).timesteps)
    ours = torch.cat([denoiser._network_timesteps[float(t)] for t in timesteps])
    assert torch.equal(ours, timesteps.to(torch.bfloat16) / 1000)
    assert not torch.equal(ours, (timesteps / 1000).to(torch.bfloat16))
