"""Galleries of samples: the images of all arms that keep them, with their scores."""

from collections.abc import Sequence

import numpy as np

from pipeline.evaluate.trial.arm_specs import GOLDEN, STANDARD
from pipeline.evaluate.trial.page.html import Html, tag
from pipeline.evaluate.trial.page.pictures import difference, picture, signed_map
from pipeline.evaluate.trial.page.plots import lines
from pipeline.evaluate.trial.results import Results, Shown
from pipeline.evaluate.trial.spectrum import radial_power

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
