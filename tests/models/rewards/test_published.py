"""Incomplete folders of rewards are rejected, with instructions in the error."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipeline.core.errors import ModelError
from pipeline.models.rewards.kinds import published_class
from pipeline.models.rewards.published import REQUIRED_FILES

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "judge"


@pytest.mark.parametrize("kind", REQUIRED_FILES)
def test_load_of_an_empty_folder_lists_all_files_and_their_sources(
    kind: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelError) as error:
        published_class(kind).load(tmp_path, CPU)
    for part in REQUIRED_FILES[kind]:
        assert part.source in str(error.value)
        assert all(name in str(error.value) for form in part.forms for name in form)


def test_load_without_one_file_names_that_file_alone(
    published: Mapping[str, Path], folder: Path
) -> None:
    shutil.copytree(published["hps_v2"], folder)
    (folder / "merges.txt").unlink()
    with pytest.raises(ModelError) as error:
        published_class("hps_v2").load(folder, CPU)
    assert "merges.txt" in str(error.value) and "HPS_v2.1" not in str(error.value)


class _Executes:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.marker),)


def test_load_of_a_pickle_with_code_does_not_run_it(
    published: Mapping[str, Path], folder: Path
) -> None:
    shutil.copytree(published["image_reward"], folder)
    torch.save({"weight": _Executes(folder / "ran")}, folder / "ImageReward.pt")
    with pytest.raises(ModelError, match="more than tensors"):
        published_class("image_reward").load(folder, CPU)
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("damage", ["missing", "left over", "another shape", "cut short"])
def test_load_of_other_weights_is_rejected(
    damage: str, published: Mapping[str, Path], folder: Path
) -> None:
    shutil.copytree(published["pick_score"], folder)
    path = folder / "model.safetensors"
    tensors = load_file(path)
    match damage:
        case "missing":
            del tensors["visual_projection.weight"]
        case "left over":
            tensors["another.weight"] = torch.zeros(1)
        case "another shape":
            tensors["visual_projection.weight"] = torch.zeros(3, 3)
    save_file(tensors, path)
    if damage == "cut short":
        path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ModelError, match=r"model\.safetensors"):
        published_class("pick_score").load(folder, CPU)


@pytest.mark.parametrize(
    ("kind", "file", "content"),
    [
        ("image_reward", "config.json", '{"vision": {}}'),
        ("image_reward", "vocab.txt", "the\nof\n"),
        ("clip_score", "config.json", "{"),
        ("clip_score", "vocab.json", "{"),
    ],
)
def test_load_with_a_damaged_file_names_it(
    kind: str, file: str, content: str, published: Mapping[str, Path], folder: Path
) -> None:
    shutil.copytree(published[kind], folder)
    (folder / file).write_text(content)
    with pytest.raises(ModelError, match=str(folder)):
        published_class(kind).load(folder, CPU)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text_config": {"num_hidden_layers": 10**9}}, r"config\.json: num_hidden_layers is"),
        ({"text_config": {"num_hidden_layers": 10**5}}, r"declares a network of more than"),
        ({"vision_config": {"hidden_size": 2**20}}, r"declares a network of more than"),
        ({"text_config": {"initializer_range": "x"}}, r"config\.json does not describe a CLIP"),
        ({"vision_config": {"patch_size": 0}}, r"the sizes beside it describe no network"),
        ({"auto_map": {"AutoModel": "code.Network"}}, r"auto_map asks for code .*never run"),
    ],
)
def test_load_with_absurd_sizes_or_code_takes_no_memory(
    published: Mapping[str, Path], folder: Path, changes: dict[str, dict[str, object]], message: str
) -> None:
    shutil.copytree(published["clip_score"], folder)
    path = folder / "config.json"
    content = json.loads(path.read_text())
    for name, values in changes.items():
        content[name] = {**content.get(name, {}), **values}
    path.write_text(json.dumps(content))
    with pytest.raises(ModelError, match=message):
        published_class("clip_score").load(folder, CPU)


def test_load_with_a_link_out_of_the_folder_is_rejected(
    published: Mapping[str, Path], folder: Path
) -> None:
    shutil.copytree(published["clip_score"], folder)
    (folder / "model.safetensors").rename(folder.parent / "outside")
    (folder / "model.safetensors").symlink_to(folder.parent / "outside")
    with pytest.raises(ModelError, match=r"model\.safetensors: a link to .*outside of"):
        published_class("clip_score").load(folder, CPU)


def test_load_with_a_word_of_an_absurd_number_takes_no_memory(
    published: Mapping[str, Path], folder: Path
) -> None:
    shutil.copytree(published["clip_score"], folder)
    path = folder / "vocab.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"cube": 10**9}))
    with pytest.raises(ModelError, match=r"vocab\.json: cube is 1,000,000,000; at most 1,048,576"):
        published_class("clip_score").load(folder, CPU)
