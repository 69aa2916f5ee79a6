"""Scenes of coloured shapes, and the grammar of their captions.

A scene has one object, two or three equal objects, or two different ones that may have a
relation. Captions and scenes correspond one to one: ``parse(caption(scene)) == scene``.

A fifth of all object combinations is *held out*. A hash decides which, so training and demo
agree without sharing a list. The model knows all words of a held-out caption but has never seen
them together.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

Colour = Literal["red", "green", "blue", "yellow", "orange", "purple", "cyan", "white"]
Shape = Literal["circle", "square", "triangle", "cross", "ring", "diamond"]
Size = Literal["small", "large"]
Relation = Literal["and", "above", "below", "left of", "right of"]

COLOURS: tuple[Colour, ...] = get_args(Colour)
SHAPES: tuple[Shape, ...] = get_args(Shape)
SIZES: tuple[Size, ...] = get_args(Size)
RELATIONS: tuple[Relation, ...] = get_args(Relation)
COUNT_WORDS: dict[str, int] = {"two": 2, "three": 3}
PLURALS: dict[Shape, str] = {s: s + "es" if s == "cross" else s + "s" for s in SHAPES}

WORDS: tuple[str, ...] = (
    *("a", "an", "and", "above", "below", "left", "right", "of"),
    *COUNT_WORDS,
    *SIZES,
    *COLOURS,
    *SHAPES,
    *PLURALS.values(),
)
"""Every word of the grammar."""

HELD_OUT_SHARE = 5
"""One in this number of object combinations is held out from training."""

KIND_WEIGHTS = {"single": 0.2, "several": 0.2, "and": 0.2, "relation": 0.4}
"""Probability of each kind of scene; pairs have the most combinations to learn."""

SIZED_SHARE = 0.25
"""Share of the single and paired scenes whose objects have a size word."""


@dataclass(frozen=True)
class Thing:
    """An object: its colour, its shape and, if the caption names one, its size."""

    colour: Colour
    shape: Shape
    size: Size | None = None

    @property
    def kind(self) -> tuple[Colour, Shape]:
        """Colour and shape of the object, without its size."""
        return self.colour, self.shape


@dataclass(frozen=True)
class Scene:
    """The content of a caption: ``count`` equal subjects, or a subject and another object."""

    subject: Thing
    count: int = 1
    relation: Relation | None = None
    other: Thing | None = None

    @property
    def things(self) -> tuple[Thing, ...]:
        """Objects of the scene, in the order of the caption."""
        return (self.subject, self.other) if self.other else (self.subject,) * self.count


def caption(scene: Scene) -> str:
    """Return the caption of ``scene``."""
    if scene.count > 1:
        number = next(word for word, count in COUNT_WORDS.items() if count == scene.count)
        return f"{number} {scene.subject.colour} {PLURALS[scene.subject.shape]}"
    if scene.other is None:
        return _noun_phrase(scene.subject)
    return f"{_noun_phrase(scene.subject)} {scene.relation} {_noun_phrase(scene.other)}"


def parse(text: str) -> Scene | None:
    """Return the scene that ``text`` describes, or None if it is outside the grammar."""
    words = text.lower().split()
    if len(words) == 3 and words[0] in COUNT_WORDS:
        singular = {plural: shape for shape, plural in PLURALS.items()}
        subject = _parse_thing([words[1], singular.get(words[2], "")])
        return Scene(subject, count=COUNT_WORDS[words[0]]) if subject else None
    joined = " ".join(words)
    for relation in RELATIONS:
        left, found, right = joined.partition(f" {relation} ")
        if found:
            subject, other = _parse_noun_phrase(left), _parse_noun_phrase(right)
            return Scene(subject, 1, relation, other) if subject and other else None
    subject = _parse_noun_phrase(joined)
    return Scene(subject) if subject else None


def combination(scene: Scene) -> str:
    """Return the objects of a scene, without order, sizes and relation."""
    kinds = sorted(f"{thing.colour} {thing.shape}" for thing in scene.things)
    return " + ".join(kinds)


def is_held_out(scene: Scene) -> bool:
    """Return True if no training picture may show this combination of objects."""
    digest = hashlib.sha256(combination(scene).encode()).digest()
    return int.from_bytes(digest[:8], "big") % HELD_OUT_SHARE == 0


def draw_scene(rng: np.random.Generator, *, held_out: bool) -> Scene:
    """Draw a random scene from the training or the held-out combinations."""
    while True:
        scene = _draw_any_scene(rng)
        if is_held_out(scene) == held_out:
            return scene


def redraw_word(scene: Scene, rng: np.random.Generator) -> Scene:
    """Redraw one word of the caption of ``scene``, which gives the nearest wrong description.

    A training scene becomes a training scene, so that a corrupted training caption is never a
    held-out one. A held-out scene may become any scene, because some have no held-out neighbour.
    """
    while True:
        changed = _change_once(scene, rng)
        allowed = is_held_out(scene) or not is_held_out(changed)
        if changed != scene and _is_valid(changed) and allowed:
            return changed


def _noun_phrase(thing: Thing) -> str:
    words = [word for word in (thing.size, thing.colour, thing.shape) if word]
    article = "an" if words[0][0] in "aeiou" else "a"
    return " ".join([article, *words])


def _parse_noun_phrase(text: str) -> Thing | None:
    words = text.split()
    return _parse_thing(words[1:]) if words and words[0] in ("a", "an") else None


def _parse_thing(words: list[str]) -> Thing | None:
    size = next((size for size in SIZES if words and words[0] == size), None)
    rest = words[1:] if size else words
    colour = next((colour for colour in COLOURS if rest and rest[0] == colour), None)
    shape = next((shape for shape in SHAPES if len(rest) == 2 and rest[1] == shape), None)
    return Thing(colour, shape, size) if colour and shape else None


def _draw_any_scene(rng: np.random.Generator) -> Scene:
    kind = rng.choice(list(KIND_WEIGHTS), p=list(KIND_WEIGHTS.values()))
    if kind == "several":
        return Scene(_draw_thing(rng, sized=False), count=int(rng.integers(2, 4)))
    sized = bool(rng.random() < SIZED_SHARE)
    subject = _draw_thing(rng, sized=sized)
    if kind == "single":
        return Scene(subject)
    relation: Relation = "and" if kind == "and" else RELATIONS[rng.integers(1, len(RELATIONS))]
    while (other := _draw_thing(rng, sized=sized)).kind == subject.kind:
        pass
    return Scene(subject, 1, relation, other)


def _draw_thing(rng: np.random.Generator, *, sized: bool) -> Thing:
    size = SIZES[rng.integers(len(SIZES))] if sized else None
    return Thing(COLOURS[rng.integers(len(COLOURS))], SHAPES[rng.integers(len(SHAPES))], size)


def _change_once(scene: Scene, rng: np.random.Generator) -> Scene:
    """Redraw one slot of the caption. The new word may be the old one."""
    slots = ["subject"]
    if scene.count > 1:
        slots.append("count")
    if scene.other:
        slots += ["other", "relation"]
    slot = slots[rng.integers(len(slots))]
    if slot == "count":
        return replace(scene, count=int(rng.integers(2, 4)))
    if slot == "relation":
        return replace(scene, relation=RELATIONS[rng.integers(1, len(RELATIONS))])
    if slot == "other" and scene.other:
        return replace(scene, other=_change_thing(scene.other, rng))
    return replace(scene, subject=_change_thing(scene.subject, rng))


def _change_thing(thing: Thing, rng: np.random.Generator) -> Thing:
    slot = rng.integers(3 if thing.size else 2)
    if slot == 0:
        return replace(thing, colour=COLOURS[rng.integers(len(COLOURS))])
    if slot == 1:
        return replace(thing, shape=SHAPES[rng.integers(len(SHAPES))])
    return replace(thing, size=SIZES[rng.integers(len(SIZES))])


def _is_valid(scene: Scene) -> bool:
    """Return False for a pair of equal objects, which are counted ("two red rings") instead."""
    return scene.other is None or scene.other.kind != scene.subject.kind


def scene_categories(prompts: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return kind of scene, sizes and colours of each caption in the demo's grammar."""
    scenes = ((prompt, parse(prompt)) for prompt in prompts)
    return {prompt: _of_scene(scene) for prompt, scene in scenes if scene}


def _of_scene(scene: Scene) -> tuple[str, ...]:
    if scene.count > 1:
        kind = f"count: {scene.count}"
    elif scene.relation is None:
        kind = "single object"
    elif scene.relation == "and":
        kind = "two objects, and"
    else:
        kind = "two objects, relation"
    sizes = ("size words",) if any(thing.size for thing in scene.things) else ()
    colours = sorted({f"colour: {thing.colour}" for thing in scene.things})
    return (kind, *sizes, *colours)
