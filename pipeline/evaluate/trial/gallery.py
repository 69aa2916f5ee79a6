"""Samples that a page shows, with their images and the perturbations of their noises.

B batch, C channels, H W height and width.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.evaluate.compare import Values
from pipeline.evaluate.pages.charts import Chart, line_plot
from pipeline.evaluate.pages.pictures import Pixels, Tile, data_uri, is_small
from pipeline.evaluate.trial.arm_specs import GOLDEN, STANDARD
from pipeline.evaluate.trial.results import Results

Maps = npt.NDArray[np.float32]

_CHANNELS_SHOWN = 4
FREQUENCY = "spatial frequency (waves across the shorter side)"
"""Title of the horizontal axis of spectra."""


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Positions of the chosen samples."""

    gains: list[int]
    """Samples with the largest gains, largest first."""
    losses: list[int]
    """Samples with the largest losses, largest first. Fewer than requested if fewer lost."""
    random: list[int]


@dataclass(frozen=True, kw_only=True)
class GallerySample:
    """Images that several arms made for one sample."""

    prompt: str
    tiles: Sequence[Tile]
    is_small: bool
    """True if the images are enlarged without interpolation."""


@dataclass(frozen=True, kw_only=True)
class Perturbation:
    """Perturbation of one sample's noise, with the images before and after."""

    prompt: str
    tiles: Sequence[Tile]
    is_small: bool
    """True if the images are enlarged without interpolation."""
    relative_change: float
    """Norm of the perturbation divided by the norm of the source noise."""
    spectrum: Chart


def choose_examples(results: Results, arm: str, judging: str, count: int) -> Examples:
    """Choose ``count`` samples of each kind by the gain of ``arm`` over standard noise.

    The gain is measured by the judging reward. The other rewards break ties, which are common under
    a coarse reward.
    """
    drawn = np.flatnonzero(results.scored_in_both(arm, STANDARD))
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


def radial_power(maps: Maps) -> Values:
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


def gallery(results: Results, samples: Sequence[int]) -> Iterator[GallerySample]:
    """Yield the given samples with the images of all arms that keep them, in order."""
    for sample in samples:
        shown = results.shown(sample)
        tiles = [
            Tile(
                name=name,
                source=data_uri(one.image),
                alt=f"Image of {name}",
                scores=[
                    (reward, f"{results.column(name, reward)[sample]:.2f}")
                    for reward in results.rewards
                ],
            )
            for name, one in shown.items()
        ]
        yield GallerySample(
            prompt=results.samples[sample].prompt,
            tiles=tiles,
            is_small=is_small(shown[STANDARD].image),
        )


def perturbation(results: Results, sample: int, subject: str) -> Perturbation:
    """Return one sample's images, their difference, and x'_T - x_T with its spectrum."""
    shown = results.shown(sample)
    standard, other = shown[STANDARD], shown[subject]
    change = _change(standard.noise, other.noise)
    # All channels share one colour scale, so their magnitudes can be compared.
    largest = float(np.abs(change).max())
    images = {
        STANDARD: standard.image,
        subject: other.image,
        "difference": difference(standard.image, other.image),
    }
    for index, channel in enumerate(change[:_CHANNELS_SHOWN]):
        images[f"channel {index}"] = signed_map(channel, largest)
    spectra = [(f"{subject}, x'_T − x_T", radial_power(change))]
    if GOLDEN in shown and subject != GOLDEN:
        golden = _change(standard.noise, shown[GOLDEN].noise)
        spectra.insert(0, (f"{GOLDEN}, x'_T − x_T", radial_power(golden)))
    return Perturbation(
        prompt=results.samples[sample].prompt,
        tiles=[
            Tile(name=name, source=data_uri(image), alt=_described(name))
            for name, image in images.items()
        ],
        is_small=is_small(standard.image),
        relative_change=float(
            np.linalg.norm(change) / np.linalg.norm(standard.noise.astype(np.float32))
        ),
        spectrum=line_plot(spectra, FREQUENCY, "mean power"),
    )


def _described(name: str) -> str:
    """Return the description of a picture of a perturbation."""
    if name == "difference":
        return "Difference of the two images"
    if name.startswith("channel "):
        return f"Perturbation of the noise, {name}"
    return f"Image of {name}"


def mean_spectra(results: Results) -> list[tuple[str, Values]]:
    """Return the mean radial power of the perturbation for each arm that keeps its noises."""
    powers: dict[str, list[Values]] = {}
    for chunk in range(len(results.files)):
        noises = results.noises(chunk)
        for name, batch in noises.items():
            if name != STANDARD:
                powers.setdefault(name, []).extend(
                    radial_power(_change(standard, noise))
                    for standard, noise in zip(noises[STANDARD], batch, strict=True)
                )
    return [(name, np.mean(rows, axis=0)) for name, rows in powers.items()]


def _change(
    standard: npt.NDArray[np.float16], noise: npt.NDArray[np.float16]
) -> npt.NDArray[np.float32]:
    """Return ``noise`` minus ``standard``, (C, H, W), in float32."""
    return (noise.astype(np.float32) - standard).reshape(-1, *noise.shape[-2:])
