"""The oracle: right about pictures whose content is known, and blind to everything else."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from jobs.demo_models.data import render_pictures
from pipeline.demo.drawing import render
from pipeline.demo.oracle import SceneOracle, connected_components, find_objects
from pipeline.demo.scenes import Scene, Thing, caption


def _picture(scene: Scene, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(render(scene, np.random.default_rng(seed)))[None]


def test_score_of_true_captions_is_at_the_ceiling() -> None:
    pool = render_pictures(250, seed=11, held_out=True)
    captions, images = [caption(scene) for scene in pool.scenes], torch.from_numpy(pool.images)
    oracle = SceneOracle()
    assert oracle.score(captions, images).mean() >= 0.98
    assert oracle.strict(captions, images).mean() >= 0.95
    # Another picture's caption shares a fact with this one only by chance.
    assert oracle.score(captions, images.roll(1, 0)).mean() < 0.3


def test_score_counts_the_facts_that_hold() -> None:
    red, blue = Thing("red", "circle", "large"), Thing("blue", "square", "small")
    images = _picture(Scene(red, 1, "above", blue))
    facts = 8  # two colours, two shapes, two sizes, the relation, the number
    cases = {
        "a large red circle above a small blue square": facts,
        "a large red circle below a small blue square": facts - 1,
        "a small red circle above a small blue square": facts - 1,
        "a large red circle above a small blue ring": facts - 3,  # shape, its size, relation
        "a large cyan ring above a small white cross": 1,  # only the number
    }
    for text, right in cases.items():
        assert SceneOracle().score([text], images).item() == pytest.approx(right / facts)
        assert SceneOracle().strict([text], images).item() == float(right == facts)


def test_score_counts_objects() -> None:
    images = _picture(Scene(Thing("blue", "ring"), count=3))
    assert SceneOracle().strict(["three blue rings"], images).item() == 1.0
    assert SceneOracle().score(["two blue rings"], images).item() == pytest.approx(4 / 5)


def test_score_outside_the_grammar_is_nan() -> None:
    images = _picture(Scene(Thing("red", "circle"))).repeat(2, 1, 1, 1)
    scores = SceneOracle().score(["a photo of a dog", "a red circle"], images)
    assert scores.dtype == torch.float32
    assert scores[0].isnan() and scores[1] == 1.0
    assert SceneOracle().strict(["a photo of a dog", "a red circle"], images)[0].isnan()


def test_score_of_an_empty_picture_is_zero() -> None:
    black = torch.zeros(1, 32, 32, 3, dtype=torch.uint8)
    assert SceneOracle().score(["a red circle"], black).item() == 0.0


def test_score_survives_noise_but_not_a_repaint() -> None:
    scene = Scene(Thing("green", "triangle"), 1, "left of", Thing("purple", "diamond"))
    noisy = _picture(scene).float() + 8 * torch.randn(
        1, 32, 32, 3, generator=torch.Generator().manual_seed(0)
    )
    images = noisy.round().clamp(0, 255).to(torch.uint8)
    assert SceneOracle().strict([caption(scene)], images).item() == 1.0
    wrong = replace(scene, subject=Thing("orange", "triangle"))
    assert SceneOracle().strict([caption(wrong)], images).item() == 0.0


def test_find_objects_measures_place_and_size() -> None:
    scene = Scene(Thing("white", "square", "large"))
    found = find_objects(_picture(scene).numpy())[0]
    assert len(found) == 1 and (found[0].colour, found[0].shape) == ("white", "square")
    assert 6.8 < found[0].half < 7.8


def test_connected_components_equals_flood_fill() -> None:
    """Against scipy's labelling, on random paint."""
    ndimage = pytest.importorskip("scipy.ndimage")
    paint = np.random.default_rng(0).integers(-1, 2, size=(4, 20, 20))
    ours = connected_components(paint)
    for picture, labels in zip(paint, ours, strict=True):
        assert np.array_equal(labels >= 0, picture >= 0)
        for colour in (0, 1):
            theirs, count = ndimage.label(picture == colour, structure=np.ones((3, 3)))
            found = labels[picture == colour]
            assert len(np.unique(found)) == count
            pairs = np.stack([found, theirs[picture == colour]])
            assert len(np.unique(pairs, axis=1).T) == count
