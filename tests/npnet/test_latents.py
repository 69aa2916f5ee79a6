"""Maps from noises to pictures, against the packing of the pipelines."""

import pytest
import torch
from diffusers import FluxPipeline

from pipeline.core.errors import UserError
from pipeline.npnet.latents import FilmLatents, PackedLatents, latents_of


def test_packed_noises_are_the_pictures_that_flux_packs() -> None:
    pictures = torch.randn(3, 4, 6, 10, generator=torch.Generator().manual_seed(0))
    noises = FluxPipeline._pack_latents(pictures, 3, 4, 6, 10)
    latents, shape = latents_of(tuple(noises.shape[1:]), 6 * 8, 10 * 8)
    assert latents == PackedLatents(rows=3, columns=5) and shape == (4, 6, 10)
    assert torch.equal(latents.to_pictures(noises), pictures)
    assert torch.equal(latents.to_noises(pictures), noises)
    assert latents.noise_shape(shape) == (15, 16) == noises.shape[1:]


def test_film_noises_are_their_frames_in_order() -> None:
    noises = torch.randn(2, 4, 3, 6, 8, generator=torch.Generator().manual_seed(0))
    latents, shape = latents_of((4, 3, 6, 8), None, None)
    assert latents == FilmLatents(frames=3) and shape == (4, 6, 8)
    frames = latents.to_pictures(noises)
    expected = [noises[row, :, frame] for row in range(2) for frame in range(3)]
    assert torch.equal(frames, torch.stack(expected))
    assert torch.equal(latents.to_noises(frames), noises)
    assert latents.noise_shape(shape) == (4, 3, 6, 8)


def test_pictures_are_noises_already() -> None:
    assert latents_of((4, 8, 16), 64, 128) == (None, (4, 8, 16))


@pytest.mark.parametrize(
    ("patches", "height", "width", "rows"),
    [(4096, None, None, 64), (4096, 512, 2048, 32), (4050, 720, 1440, 45), (4050, 1440, 720, 90)],
)
def test_rows_of_patches_follow_from_the_size_of_the_image(
    patches: int, height: int | None, width: int | None, rows: int
) -> None:
    latents, _ = latents_of((patches, 64), height, width)
    assert latents == PackedLatents(rows=rows, columns=patches // rows)


@pytest.mark.parametrize(
    ("shape", "height", "width", "message"),
    [
        ((4096, 64), 512, None, "set both in"),
        ((2048, 64), None, None, "2048 packed patches do not fit a square image"),
        ((4096, 64), 512, 1024, "do not fit an image of 512 × 1024 pixels"),
        ((4096, 63), None, None, r"noises of shape \(4096, 63\)"),
        ((64,), None, None, r"noises of shape \(64,\)"),
    ],
)
def test_noises_without_a_known_picture_say_what_is_missing(
    shape: tuple[int, ...], height: int | None, width: int | None, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        latents_of(shape, height, width)
