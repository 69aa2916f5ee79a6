"""The oracle: a measure of how well a picture matches its caption.

It is used in tests and reports. It finds shapes, their colours and their positions with classical
computer vision: nothing is learned, and only the names of objects are shared with the learned
reward. It never selects pairs, so that it can reveal a reward that is being hacked.

B batch, H W image height and width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.demo.drawing import GROUND, PAINT, Floats, coverage, relation_holds
from pipeline.demo.scenes import COLOURS, SHAPES, Colour, Scene, Shape, Thing, parse

FOREGROUND = 0.4
"""Share of a pixel that must be covered by paint for it to belong to an object."""

LEAST_AREA = 8
"""Minimum size of a blob, in pixels; the smallest rendered shape has 26."""

LEAST_OVERLAP = 0.5
"""Minimum soft intersection over union of a recognisable shape."""

EDGE = 0.15
"""Minimum coverage of the first column or row of a blob."""

HALF_STEPS = np.array([-0.5, 0.0, 0.5])
"""Offsets to the measured size that are tried when shapes are compared, in pixels."""


@dataclass(frozen=True)
class Found:
    """An object found in a picture, with centre and half side of its bounding box, in pixels."""

    colour: Colour
    shape: Shape | None
    x: float
    y: float
    half: float
    area: int


def find_objects(images: NDArray[np.uint8]) -> list[list[Found]]:
    """Return the objects in each of ``images`` (B, H, W, 3), the largest first."""
    cover, colour = segment(images)
    paint = np.where(cover.max(-1) >= FOREGROUND, colour, -1)
    labels = connected_components(paint)
    return [_describe(paint[row], cover[row], labels[row]) for row in range(len(images))]


def segment(images: NDArray[np.uint8]) -> tuple[Floats, NDArray[np.int64]]:
    """Return the coverage of each pixel by each colour, and the nearest colour.

    A pixel at an edge is a mixture ground + a·(paint − ground). Returns a for the colour with the
    nearest line (zero for the others), (B, H, W, 8), and the index of that colour, (B, H, W).
    """
    offset = images.astype(np.float64) - GROUND
    lines = np.array([PAINT[colour] for colour in COLOURS]) - GROUND
    along, squared = offset @ lines.T, (lines**2).sum(1)
    amount = np.clip(along / squared, 0.0, 1.0)
    # |offset − a·line|² without |offset|², which is the same for every colour.
    nearest = (amount * (amount * squared - 2.0 * along)).argmin(-1)
    is_nearest = nearest[..., None] == np.arange(len(COLOURS))
    return np.where(is_nearest, amount, 0.0), nearest


def connected_components(paint: NDArray[np.int64]) -> NDArray[np.int64]:
    """Label 8-connected pixels of equal ``paint`` (B, H, W). -1 is the background.

    Returns (B, H, W): the largest pixel number in the component, or -1 for the background. Labels
    spread from neighbour to neighbour until none changes.
    """
    _, height, width = paint.shape
    padded = np.pad(paint, ((0, 0), (1, 1), (1, 1)), constant_values=-1)
    labels = np.full(padded.shape, -1)
    inner = labels[:, 1:-1, 1:-1]
    inner[:] = np.where(paint >= 0, np.arange(height * width).reshape(height, width), -1)
    windows = [
        (slice(None), slice(dy, dy + height), slice(dx, dx + width))
        for dy in range(3)
        for dx in range(3)
        if (dy, dx) != (1, 1)
    ]
    joined = [(paint >= 0) & (padded[window] == paint) for window in windows]
    while True:
        before = inner.copy()
        for window, same in zip(windows, joined, strict=True):
            np.maximum(inner, labels[window], out=inner, where=same)
        if np.array_equal(before, inner):
            return before


def classify(cover: Floats, x: float, y: float, half: float) -> Shape | None:
    """Return the shape whose rendering at that position overlaps best with ``cover`` (H, W)."""
    halves = (half + HALF_STEPS)[:, None, None]
    templates = np.stack([coverage(shape, x, y, halves) for shape in SHAPES])
    shared = np.minimum(templates, cover).sum((-2, -1))
    overlap = (shared / np.maximum(templates, cover).sum((-2, -1))).max(1)
    best = int(overlap.argmax())
    return SHAPES[best] if overlap[best] >= LEAST_OVERLAP else None


def _describe(paint: NDArray[np.int64], cover: Floats, labels: NDArray[np.int64]) -> list[Found]:
    """Return the objects of one picture."""
    names, areas = np.unique(labels[labels >= 0], return_counts=True)
    found = []
    for name, area in zip(names.tolist(), areas.tolist(), strict=True):
        if area >= LEAST_AREA:
            mask = labels == name
            index = int(paint[mask][0])
            # Pixels at the edge are less than FOREGROUND covered and therefore not in the mask, but
            # their coverage gives the extent with a precision below one pixel.
            object_cover = cover[..., index] * _grow(mask)
            left, right = _extent(object_cover.max(0))
            top, bottom = _extent(object_cover.max(1))
            x, y = (left + right) / 2, (top + bottom) / 2
            half = max(right - left, bottom - top) / 2
            found.append(
                Found(COLOURS[index], classify(object_cover, x, y, half), x, y, half, area)
            )
    return sorted(found, key=lambda one: -one.area)


def _grow(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Extend ``mask`` by its eight neighbours, the half-covered pixels of a soft edge."""
    padded = np.pad(mask, 1)
    wide = padded[:, :-2] | padded[:, 1:-1] | padded[:, 2:]
    return np.asarray(wide[:-2] | wide[1:-1] | wide[2:])


def _extent(profile: Floats) -> tuple[float, float]:
    """Return the begin and end of a soft profile, with a precision below one pixel."""
    inside = np.flatnonzero(profile > EDGE)
    first, last = int(inside[0]), int(inside[-1])
    return first + 1.0 - float(profile[first]), last + float(profile[last])


SMALL_BELOW, LARGE_ABOVE = 4.6, 6.5
"""Half sides in pixels, midway between the rendered ranges of the size words."""

MOST_OBJECTS = 6
"""Number of largest objects that are matched with the caption, which names at most three."""


class SceneOracle:
    """Scores pictures of scenes. It has the interface of a Reward but never selects pairs."""

    def score(self, prompts: Sequence[str], images: Tensor) -> Tensor:
        """Return the share of the caption's facts that each picture shows, float32 (B,) in [0, 1].

        ``images`` is uint8 (B, H, W, 3). The facts are each object's colour, its shape (in that
        colour), its size if the caption names one, the relation, and the number of objects. The
        score is NaN for a prompt outside the grammar.
        """
        shares = [
            sum(facts) / len(facts) if facts else torch.nan for facts in _judge(prompts, images)
        ]
        return torch.tensor(shares, dtype=torch.float32)

    def strict(self, prompts: Sequence[str], images: Tensor) -> Tensor:
        """Return 1 if every fact is right, 0 if one is wrong, and NaN outside the grammar."""
        verdicts = [float(all(facts)) if facts else torch.nan for facts in _judge(prompts, images)]
        return torch.tensor(verdicts, dtype=torch.float32)


def scene_facts(scene: Scene, found: Sequence[Found]) -> list[bool]:
    """Return the facts of ``scene`` as booleans, under the best matching with ``found``."""
    # A None stands for an object of the caption that the picture does not show.
    candidates = [*found[:MOST_OBJECTS], *[None] * len(scene.things)]
    matchings = permutations(candidates, len(scene.things))
    best = max((_facts_matched(scene, matching) for matching in matchings), key=sum)
    return [*best, len(found) == len(scene.things)]


def _judge(prompts: Sequence[str], images: Tensor) -> list[list[bool]]:
    """Return the facts of each picture; an empty list for a prompt outside the grammar."""
    seen = find_objects(images.cpu().numpy())
    scenes = [parse(prompt) for prompt in prompts]
    return [
        scene_facts(scene, found) if scene else []
        for scene, found in zip(scenes, seen, strict=True)
    ]


def _facts_matched(scene: Scene, matching: Sequence[Found | None]) -> list[bool]:
    facts = []
    for thing, found in zip(scene.things, matching, strict=True):
        right_kind = found is not None and (found.colour, found.shape) == thing.kind
        facts += [found is not None and found.colour == thing.colour, right_kind]
        if thing.size:
            facts.append(right_kind and _size_holds(thing, found))
    if scene.other and scene.relation != "and":
        facts.append(_relation_shown(scene, matching))
    return facts


def _size_holds(thing: Thing, found: Found | None) -> bool:
    if found is None:
        return False
    return found.half < SMALL_BELOW if thing.size == "small" else found.half > LARGE_ABOVE


def _relation_shown(scene: Scene, matching: Sequence[Found | None]) -> bool:
    """Return True if both objects were found with the right kind and in the right relation."""
    subject, other = matching
    if subject is None or other is None:
        return False
    kinds = [(found.colour, found.shape) for found in (subject, other)]
    return kinds == [thing.kind for thing in scene.things] and relation_holds(
        scene.relation, other.x - subject.x, other.y - subject.y, dominance=1.0
    )
