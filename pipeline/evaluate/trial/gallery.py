"""Samples that a page shows, with their images and the perturbations of their noises.

B batch, C channels, H W height and width.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.evaluate.trial.arm_specs import GOLDEN, STANDARD
from pipeline.evaluate.trial.html import Html, tag
from pipeline.evaluate.trial.plots import lines
from pipeline.evaluate.trial.results import Results, Shown


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Positions of the chosen samples."""

    gains: list[int]
    """Samples with the largest gains, largest first."""
    losses: list[int]
    """Samples with the largest losses, largest first. Fewer than requested if fewer lost."""
    random: list[int]


def choose_examples(results: Results, arm: str, judging: str, count: int) -> Examples:
    """Choose ``count`` samples of each kind by the gain of ``arm`` over standard noise.

    The gain is measured by the judging reward. The other rewards break ties, which are common under
    a coarse reward.
    """
    drawn = np.flatnonzero(results.drawn_in_both(arm, STANDARD))
    others = [reward for reward in results.rewards if reward != judging]
    differences = [
        (results.column(arm, reward) - results.column(STANDARD, reward))[drawn]
        for reward in (*others, judging)
    ]
    # lexsort uses its last key as the primary key.
    order = drawn[np.lexsort(differences)]
    judged = results.column(arm, judging) - results.column(STANDARD, judging)
    random = np.random.default_rng(0).permutation(drawn)[:count]
    return Examples(
        gains=[int(i) for i in order[::-1][:count] if judged[i] > 0],
        losses=[int(i) for i in order[:count] if judged[i] < 0],
        random=[int(i) for i in random],
    )


Maps = npt.NDArray[np.float32]


def radial_power(maps: Maps) -> npt.NDArray[np.float64]:
    """Return the mean power of maps (C, H, W) at each radial frequency 0, 1, ….

    The mean is over channels and directions. White noise of variance 1 has power 1 at every
    frequency. Frequency k means k waves across the shorter side. The result includes the corners of
    the spectrum, whose frequencies exceed half of that side.
    """
    height, width = maps.shape[-2:]
    power = np.abs(np.fft.fft2(maps.astype(np.float64), norm="ortho")) ** 2
    rows = np.fft.fftfreq(height)[:, None]
    columns = np.fft.fftfreq(width)[None, :]
    ring = np.rint(np.hypot(rows, columns) * min(height, width)).astype(int)
    totals = np.bincount(ring.ravel(), weights=power.mean(axis=0).ravel())
    return np.asarray(totals / np.bincount(ring.ravel()))


_LARGEST = 256
"""Maximum side length in pixels. Larger images are scaled down to keep the page small."""

Pixels = npt.NDArray[np.uint8]


def picture(pixels: Pixels, alt: str) -> Html:
    """Return an image element of (H, W, 3): lossless PNG, or scaled-down WebP if it is large."""
    image = Image.fromarray(pixels)
    buffer = io.BytesIO()
    if max(image.size) <= _LARGEST:
        image.save(buffer, format="PNG", optimize=True)
        kind = "png"
    else:
        image.thumbnail((_LARGEST, _LARGEST), Image.Resampling.LANCZOS)
        image.save(buffer, format="WEBP", quality=85)
        kind = "webp"
    data = base64.b64encode(buffer.getvalue()).decode()
    return tag("img", src=f"data:image/{kind};base64,{data}", alt=alt)


def difference(one: Pixels, other: Pixels) -> Pixels:
    """Return |one - other|, which is black where the images are equal."""
    # uint8 subtraction would wrap around below zero.
    return np.abs(one.astype(np.int16) - other.astype(np.int16)).astype(np.uint8)


def signed_map(values: npt.NDArray[np.float32], largest: float) -> Pixels:
    """Return a map (H, W) as colours: blue at -``largest``, white at 0, red at ``largest``."""
    share = np.clip(values / (largest or 1.0), -1, 1)[..., None]
    red, blue = np.array([178, 24, 43]), np.array([33, 102, 172])
    colour = np.where(share > 0, red, blue)
    return np.asarray(255 + (colour - 255) * np.abs(share)).round().astype(np.uint8)


_SMALL = 128
"""Images smaller than this are enlarged without interpolation, which would invent detail."""

_CHANNELS_SHOWN = 4


def gallery(results: Results, samples: Sequence[int]) -> Html:
    """Return a gallery of the given samples, in order."""
    return tag("div", *(_sample(results, sample) for sample in samples), class_="gallery")


def perturbation(results: Results, sample: int, subject: str) -> Html:
    """Return one sample's images, their difference, and x'_T - x_T with its spectrum."""
    shown = results.shown(sample)
    standard, other = shown[STANDARD], shown[subject]
    change = (other.noise.astype(np.float32) - standard.noise).reshape(
        -1, *standard.noise.shape[-2:]
    )
    # All channels share one colour scale, so their magnitudes can be compared.
    largest = float(np.abs(change).max())
    tiles = [
        _tile(picture(standard.image, STANDARD), STANDARD),
        _tile(picture(other.image, subject), subject),
        _tile(picture(difference(standard.image, other.image), "difference"), "difference"),
        *(
            _tile(picture(signed_map(channel, largest), f"channel {index}"), f"channel {index}")
            for index, channel in enumerate(change[:_CHANNELS_SHOWN])
        ),
    ]
    curves = [(f"{subject}, x'_T − x_T", radial_power(change))]
    if GOLDEN in shown and subject != GOLDEN:
        golden = (shown[GOLDEN].noise.astype(np.float32) - standard.noise).reshape(change.shape)
        curves.insert(0, (f"{GOLDEN}, x'_T − x_T", radial_power(golden)))
    relative = np.linalg.norm(change) / np.linalg.norm(standard.noise.astype(np.float32))
    return tag(
        "div",
        tag("p", tag("b", results.samples[sample].prompt), f"; relative change {relative:.2f}"),
        tag("div", *tiles, class_="row" + _pixels(standard)),
        lines(curves, "radial frequency"),
        class_="perturbation",
    )


def _sample(results: Results, sample: int) -> Html:
    shown = results.shown(sample)
    tiles = []
    for name, one in shown.items():
        scores = [
            Html(f"{tag('span', reward)} {tag('b', f'{results.column(name, reward)[sample]:.2f}')}")
            for reward in results.rewards
        ]
        tiles.append(_tile(picture(one.image, name), name, *scores))
    row = tag("div", *tiles, class_="row" + _pixels(shown[STANDARD]))
    return tag("div", tag("p", results.samples[sample].prompt), row, class_="sample")


def _tile(image: Html, *under: str) -> Html:
    return tag("div", image, *(tag("div", line) for line in under), class_="tile")


def _pixels(shown: Shown) -> str:
    return " pixels" if max(shown.image.shape[:2]) < _SMALL else ""
