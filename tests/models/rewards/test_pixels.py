"""Preprocessed pixels against those of the authors' code, for every shape and rounding."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pipeline.models.rewards.pixels import centre_floored, pillow_pixels, torch_pixels
from tests.models.rewards.recorded import pixels
from tests.models.rewards.reference.subjects import ODD, images

Way = Callable[[Tensor, int], Tensor]

WAYS: dict[str, Way] = {
    "image_reward": pillow_pixels,
    "openai": pillow_pixels,
    "pick_score": lambda pictures, side: pillow_pixels(pictures, side, centre_floored),
    "hps_v2": torch_pixels,
}


@pytest.mark.parametrize("name", WAYS)
def test_pixels_of_every_shape_equal_the_reference(name: str) -> None:
    recorded = pixels(name)
    assert len(recorded) == 4
    for shape, expected in recorded.items():
        found = WAYS[name](torch.from_numpy(images(shape, 1)), 32)
        assert found.shape == (1, 3, 32, 32) and found.dtype == torch.float32
        torch.testing.assert_close(found[0], expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", WAYS)
def test_pixels_of_a_batch_equal_those_of_each_image(name: str) -> None:
    pictures = torch.from_numpy(images(ODD, 3))
    each = torch.cat([WAYS[name](picture[None], 32) for picture in pictures])
    torch.testing.assert_close(WAYS[name](pictures, 32), each, rtol=0, atol=1e-6)


def test_pixels_of_a_crop_at_half_a_pixel_equal_the_references() -> None:
    pictures = torch.from_numpy(images((227, 224), 1))
    rounded, floored = (pillow_pixels(pictures, 224, *c) for c in ((), (centre_floored,)))
    torch.testing.assert_close(rounded[:, :, :-1], floored[:, :, 1:])
