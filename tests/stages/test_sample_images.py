"""Images from stored noise, against the closed form of Gaussian data."""

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.config.sections import SamplingConfig
from pipeline.diffusion.noise import source_noise, stored
from pipeline.stages.sample import sample_images
from tests.diffusion.gaussian import GaussianDenoiser, sampling_factor

SAMPLING = SamplingConfig(num_inference_steps=10, guidance_scale=2.0)
WIDTHS = [0.3, 0.6, 1.4]


def noise_of(denoiser: GaussianDenoiser) -> Tensor:
    return stored(torch.stack([source_noise(seed, denoiser.latent_shape) for seed in range(3)]))


def test_images_are_the_decoded_closed_form_of_the_stored_noise() -> None:
    denoiser = GaussianDenoiser()
    noise = noise_of(denoiser)
    images = sample_images(denoiser, denoiser.encode_widths(WIDTHS), noise, SAMPLING)
    assert images.finite == (True, True, True)
    assert (images.pixels.shape, images.pixels.dtype) == ((3, 1, 6, 3), torch.uint8)
    for row, width in enumerate(WIDTHS):
        latents = sampling_factor(denoiser, width, 10, 2.0) * noise[row].double().flatten().numpy()
        grey = np.clip(127.5 + 127.5 * latents, 0, 255)
        seen = images.pixels[row, 0].double().numpy()
        # Half a step of rounding, and what float32 adds to it.
        assert np.abs(seen - grey[:, None]).max() <= 0.501


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_image_of_noise_that_is_not_finite_is_black_and_says_so(bad: float) -> None:
    """The decoder clamps an infinity to white or black: only the latents show it."""
    denoiser = GaussianDenoiser()
    noise = noise_of(denoiser)
    prompts = denoiser.encode_widths(WIDTHS)
    expected = sample_images(denoiser, prompts, noise, SAMPLING).pixels
    noise[1, 0, 0] = bad
    images = sample_images(denoiser, prompts, noise, SAMPLING)
    assert images.finite == (True, False, True)
    assert not images.pixels[1].any()
    assert torch.equal(images.pixels[[0, 2]], expected[[0, 2]])
