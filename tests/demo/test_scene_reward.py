"""The shipped preference model: right about held-out pairs, and clear about broken folders."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from jobs.demo_models.data import render_pictures
from jobs.demo_models.evaluate import pair_accuracy
from jobs.demo_models.reward import bradley_terry, contrast, corrupt, presence
from pipeline.core.errors import ModelError
from pipeline.demo.drawing import render
from pipeline.demo.scene_reward import CONFIG_FILE, WEIGHTS_FILE, SceneReward, word_ids
from pipeline.demo.scenes import caption

FOLDER = Path(__file__).parents[2] / "pipeline" / "demo" / "reward"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def reward() -> SceneReward:
    return SceneReward.load(FOLDER, CPU)


def test_score_prefers_the_true_picture_on_held_out_pairs(reward: SceneReward) -> None:
    # Measured .959 on 1,024 pairs.
    pool = render_pictures(600, seed=21, held_out=True)
    assert pair_accuracy(reward, pool, seed=21) >= 0.87


def test_score_of_a_row_does_not_depend_on_its_batch(reward: SceneReward) -> None:
    pool = render_pictures(9, seed=22, held_out=True)
    captions, images = [caption(scene) for scene in pool.scenes], torch.from_numpy(pool.images)
    together = reward.score(captions, images)
    alone = torch.cat([reward.score([c], i[None]) for c, i in zip(captions, images, strict=True)])
    assert together.dtype == torch.float32 and together.shape == (9,)
    assert not together.requires_grad
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


def test_score_reads_unknown_words_and_refuses_nothing(reward: SceneReward) -> None:
    images = torch.zeros(2, 32, 32, 3, dtype=torch.uint8)
    scores = reward.score(["a photo of a dog " * 9, ""], images)
    assert scores[0].isfinite()
    assert scores[1].isnan(), "an empty prompt has nothing to be judged by"


def test_load_of_a_missing_folder_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=CONFIG_FILE):
        SceneReward.load(tmp_path / "nowhere", CPU)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        (CONFIG_FILE, b"{"),
        (CONFIG_FILE, b"{}"),
        (CONFIG_FILE, b'{"vocabulary": ["red"]}'),
        (CONFIG_FILE, b'{"vocabulary": 3}'),
        (CONFIG_FILE, b"\xff\xfe"),
        (WEIGHTS_FILE, b"not safetensors"),
        (WEIGHTS_FILE, b""),
    ],
)
def test_load_of_a_damaged_folder_says_so(tmp_path: Path, file: str, content: bytes) -> None:
    folder = shutil.copytree(FOLDER, tmp_path / "reward")
    (folder / file).write_bytes(content)
    with pytest.raises(ModelError, match="damaged"):
        SceneReward.load(folder, CPU)


def test_save_then_load_keeps_the_scores(reward: SceneReward, tmp_path: Path) -> None:
    reward.save(tmp_path)
    pool = render_pictures(4, seed=23)
    captions, images = [caption(scene) for scene in pool.scenes], torch.from_numpy(pool.images)
    again = SceneReward.load(tmp_path, CPU)
    assert torch.equal(again.score(captions, images), reward.score(captions, images))


def test_word_ids_pads_cuts_and_marks_the_unknown() -> None:
    ids = word_ids(["red zork", "red " * 20], ["a", "red"])
    assert ids.shape == (2, 16)
    assert ids[0].tolist() == [3, 1] + [0] * 14
    assert ids[1].tolist() == [3] * 16


def test_corrupt_draws_a_scene_that_the_caption_does_not_describe() -> None:
    rng = np.random.default_rng(0)
    for scene in render_pictures(300, seed=24).scenes:
        worse = corrupt(scene, rng)
        assert worse != scene
        assert render(worse, rng).shape == (32, 32, 3)


def test_losses_equal_their_closed_forms() -> None:
    logits = torch.zeros(3, 6)
    assert bradley_terry(logits).item() == pytest.approx(np.log(2))
    assert contrast(logits).item() == pytest.approx((np.log(6) + np.log(3)) / 2)
    sure = torch.full((3, 6), -50.0)
    sure[:, :3].fill_diagonal_(50.0)
    assert contrast(sure).item() == pytest.approx(0.0, abs=1e-6)


def test_presence_names_each_kind_once() -> None:
    pool = render_pictures(50, seed=25)
    kinds = [len({thing.kind for thing in scene.things}) for scene in pool.scenes]
    assert presence(pool.scenes).sum(1).tolist() == kinds
