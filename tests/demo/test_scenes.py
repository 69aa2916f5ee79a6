"""The grammar: captions and scenes are one to one, and the hold-out holds."""

from pathlib import Path

import numpy as np
import pytest

from jobs.demo_models.data import DEMO, HELD_OUT, TRAIN, all_prompts, render_pictures
from jobs.demo_models.diffusion import noisy_captions
from jobs.demo_models.reward import corrupt
from pipeline.demo.drawing import GROUND, PAINT, SIDE, coverage, place, relation_holds, render
from pipeline.demo.scenes import (
    COLOURS,
    SHAPES,
    Scene,
    Shape,
    Thing,
    caption,
    combination,
    draw_scene,
    is_held_out,
    parse,
    redraw_word,
)

BLUE_RING = Thing("blue", "ring")


@pytest.mark.parametrize(
    ("text", "scene"),
    [
        ("a small red circle", Scene(Thing("red", "circle", "small"))),
        ("an orange cross", Scene(Thing("orange", "cross"))),
        ("three blue rings", Scene(BLUE_RING, count=3)),
        ("two white crosses", Scene(Thing("white", "cross"), count=2)),
        (
            "a red circle and a blue square",
            Scene(Thing("red", "circle"), 1, "and", Thing("blue", "square")),
        ),
        (
            "a large green triangle above a small orange circle",
            Scene(
                Thing("green", "triangle", "large"), 1, "above", Thing("orange", "circle", "small")
            ),
        ),
        (
            "a blue ring left of a cyan diamond",
            Scene(BLUE_RING, 1, "left of", Thing("cyan", "diamond")),
        ),
    ],
)
def test_caption_of_known_scene_is_written_and_read(text: str, scene: Scene) -> None:
    assert caption(scene) == text
    assert parse(text) == scene


@pytest.mark.parametrize("held_out", [False, True])
def test_caption_of_any_scene_round_trips(held_out: bool) -> None:
    rng = np.random.default_rng(1)
    for _ in range(2000):
        scene = draw_scene(rng, held_out=held_out)
        assert parse(caption(scene)) == scene


@pytest.mark.parametrize(
    "text", ["", "a", "circle", "a dog", "a red", "four red rings", "a red circle near a blue ring"]
)
def test_parse_outside_the_grammar_is_none(text: str) -> None:
    assert parse(text) is None


def test_hold_out_depends_on_objects_alone() -> None:
    scene = Scene(Thing("red", "circle", "small"), 1, "above", Thing("blue", "square", "large"))
    mirrored = Scene(Thing("blue", "square"), 1, "and", Thing("red", "circle"))
    assert combination(scene) == combination(mirrored)
    assert is_held_out(scene) == is_held_out(mirrored)


def test_hold_out_keeps_a_fifth_of_all_pairs() -> None:
    things = [Thing(colour, shape) for colour in COLOURS for shape in SHAPES]
    pairs = [Scene(a, 1, "and", b) for i, a in enumerate(things) for b in things[:i]]
    assert np.mean([is_held_out(scene) for scene in pairs]) == pytest.approx(0.2, abs=0.03)


def test_training_never_sees_a_held_out_combination() -> None:
    """Neither in a picture nor in a caption made wrong on purpose."""
    pool = render_pictures(500, seed=3)
    rng = np.random.default_rng(3)
    texts = noisy_captions(pool.scenes, rng.integers(len(pool), size=2000), rng)
    scenes = [parse(text) for text in texts if text]
    worse = [corrupt(scene, rng) for scene in pool.scenes]
    assert not any(scene is None or is_held_out(scene) for scene in [*pool.scenes, *scenes, *worse])


def test_shipped_prompts_are_distinct_and_reproducible() -> None:
    shipped = {path: path.read_text("utf-8").splitlines() for path in all_prompts()}
    assert shipped == all_prompts()
    assert [len(set(prompts)) for prompts in shipped.values()] == [256, 512, 3072]
    assert not set(shipped[DEMO]) & set(shipped[HELD_OUT])


@pytest.mark.parametrize(("file", "held_out"), [(DEMO, True), (HELD_OUT, True), (TRAIN, False)])
def test_shipped_prompts_are_on_their_side_of_the_held_out_combinations(
    file: Path, held_out: bool
) -> None:
    scenes = [parse(prompt) for prompt in file.read_text("utf-8").splitlines()]
    assert all(scene is not None and is_held_out(scene) == held_out for scene in scenes)


def test_redraw_word_changes_one_word() -> None:
    rng = np.random.default_rng(5)
    for _ in range(500):
        scene = draw_scene(rng, held_out=False)
        before, after = caption(scene).split(), caption(redraw_word(scene, rng)).split()
        changed = [pair for pair in zip(before, after, strict=False) if pair[0] != pair[1]]
        # "a" turns to "an" with its colour, "rings" to "ring" with nothing else
        assert [p for p in changed if p[0] not in ("a", "an")] and before != after


def test_render_is_seeded_and_stays_in_the_picture() -> None:
    scene = Scene(BLUE_RING, count=3)
    first, again = (render(scene, np.random.default_rng(7)) for _ in range(2))
    assert first.shape == (SIDE, SIDE, 3) and first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert not np.array_equal(first, render(scene, np.random.default_rng(8)))
    border = np.concatenate([first[0], first[-1], first[:, 0], first[:, -1]]).astype(float)
    assert np.abs(border - GROUND).max() < 0.5 * max(PAINT["blue"])


def test_place_makes_the_relation_true() -> None:
    rng = np.random.default_rng(9)
    scene = Scene(Thing("red", "ring", "large"), 1, "below", Thing("blue", "cross", "large"))
    for _ in range(50):
        subject, other = place(scene, rng)
        assert subject.y > other.y
        assert relation_holds("below", other.x - subject.x, other.y - subject.y)


@pytest.mark.parametrize(
    ("shape", "share"),
    [("square", 1.0), ("circle", np.pi / 4), ("triangle", 0.5), ("diamond", 0.5)],
)
def test_coverage_has_the_area_of_geometry(shape: Shape, share: float) -> None:
    half = 9.0
    area = coverage(shape, 16.0, 16.0, half).sum()
    assert area == pytest.approx(share * (2 * half) ** 2, rel=0.03)
