"""Rendering of scenes as pictures: anti-aliased shapes on a dark background.

Each shape is defined by a signed distance in pixels (negative inside). All shapes fill the same
square bounding box of half side ``half``, so a size word means the same for every shape.
H, W image height and width (both ``SIDE``).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.demo.scenes import Colour, Scene, Shape, Thing

Floats = NDArray[np.float64]

SIDE = 32
"""Side of a picture in pixels."""

GROUND = np.array([18.0, 18.0, 26.0])
"""Colour of the background, RGB in 0..255."""

PAINT: dict[Colour, tuple[int, int, int]] = {
    "red": (225, 35, 40),
    "green": (35, 175, 55),
    "blue": (45, 80, 240),
    "yellow": (240, 220, 40),
    "orange": (245, 125, 20),
    "purple": (165, 50, 205),
    "cyan": (45, 215, 220),
    "white": (240, 240, 240),
}
"""Maps each colour word to RGB in 0..255."""

HALF_SIDES = {"small": (3.6, 4.2), None: (5.0, 6.0), "large": (7.0, 7.6)}
"""Maps each size word to the range of the bounding box's half side, in pixels."""

SEVERAL_HALF_SIDES = (4.2, 5.0)
"""Range of the half side for counted objects, in pixels; three of them must fit."""

GAP = 1.5
"""Minimum distance between two bounding boxes, in pixels."""


TRIES = 64
"""Number of placements drawn at a time; the first one that fits is used."""

PIXEL_CENTRES: Floats = np.arange(SIDE, dtype=np.float64) + 0.5
"""Coordinates of the pixel centres of a row, in pixels."""


@dataclass(frozen=True)
class Placed:
    """An object with the centre and half side of its bounding box, in pixels."""

    thing: Thing
    x: float
    y: float
    half: float


def render(scene: Scene, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a picture of ``scene``, uint8 (H, W, 3). ``rng`` decides positions and sizes."""
    image = np.broadcast_to(GROUND, (SIDE, SIDE, 3)).copy()
    for placed in place(scene, rng):
        cover = coverage(placed.thing.shape, placed.x, placed.y, placed.half)[..., None]
        image += cover * (np.array(PAINT[placed.thing.colour]) - image)
    return image.round().astype(np.uint8)


def coverage(shape: Shape, x: float | Floats, y: float | Floats, half: float | Floats) -> Floats:
    """Return the share of each pixel that a shape covers, (..., H, W) in [0, 1].

    ``x``, ``y``, ``half`` are numbers or arrays that broadcast against (H, W).
    """
    distance = signed_distance(shape, PIXEL_CENTRES - x, PIXEL_CENTRES[:, None] - y, half)
    return np.clip(0.5 - distance, 0.0, 1.0)


def signed_distance(shape: Shape, x: Floats, y: Floats, half: float | Floats) -> Floats:
    """Return the signed distance in pixels to a shape at the origin (y points down)."""
    across, down = np.abs(x), np.abs(y)
    if shape == "circle":
        return np.asarray(np.hypot(x, y) - half)
    if shape == "ring":
        band = 0.24 * half
        return np.asarray(np.abs(np.hypot(x, y) - half + band) - band)
    if shape == "square":
        return np.asarray(np.maximum(across, down) - half)
    if shape == "diamond":
        return np.asarray((across + down - half) / np.sqrt(2.0))
    if shape == "cross":
        bar = 0.32 * half
        return np.asarray(
            np.minimum(np.maximum(across - half, down - bar), np.maximum(across - bar, down - half))
        )
    # Triangle with its apex on top. Its slanted sides run from (0, -half) to (±half, half).
    return np.asarray(np.maximum(y - half, (2.0 * across - y - half) / np.sqrt(5.0)))


def place(scene: Scene, rng: np.random.Generator) -> list[Placed]:
    """Place every object inside the picture, without overlap, so that the relation holds."""
    things = scene.things
    while True:
        halves = np.array([rng.uniform(*_half_range(thing, scene)) for thing in things])
        # The soft edge of a shape extends half a pixel beyond its bounding box.
        margin = halves[:, None] + 0.5
        centres = rng.uniform(margin, SIDE - margin, size=(TRIES, len(things), 2))
        for tried in centres[_are_apart(centres, halves)]:
            if scene.other is None or relation_holds(scene.relation, *(tried[1] - tried[0])):
                return [
                    Placed(thing, float(x), float(y), float(half))
                    for thing, (x, y), half in zip(things, tried, halves, strict=True)
                ]


def relation_holds(relation: str | None, dx: float, dy: float, *, dominance: float = 1.2) -> bool:
    """Return True if ``relation`` holds for the offset (dx, dy) from the subject, in pixels.

    The offset along the relation's axis must be at least ``dominance`` times the other one, so that
    an object drawn "above" is never almost "right of" as well.
    """
    match relation:
        case "above":
            return dy > dominance * abs(dx)
        case "below":
            return -dy > dominance * abs(dx)
        case "left of":
            return dx > dominance * abs(dy)
        case "right of":
            return -dx > dominance * abs(dy)
        case _:
            return True


def _half_range(thing: Thing, scene: Scene) -> tuple[float, float]:
    return SEVERAL_HALF_SIDES if scene.count > 1 else HALF_SIDES[thing.size]


def _are_apart(centres: Floats, halves: Floats) -> NDArray[np.bool_]:
    """Return, for T tries of centres (T, n, 2), whether the n bounding boxes are ``GAP`` apart."""
    distance = np.abs(centres[:, :, None] - centres[:, None, :]).max(-1)
    needed = halves[:, None] + halves[None, :] + GAP
    np.fill_diagonal(needed, 0.0)
    return np.asarray((distance >= needed).all((1, 2)))
