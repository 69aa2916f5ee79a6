"""The authors' layout, read back by a loader written anew from the description of theirs."""

import ast
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.core.records import Split
from tests.publish.export.exports import SHAPE, export_to, our_samples
from tests.sealed import manifest_of


@dataclass(frozen=True)
class Loaded:
    source: npt.NDArray[np.float16]
    golden: npt.NDArray[np.float16]
    caption: str


def load_as_the_authors(data_dir: Path, prompt_path: Path, *, discard: bool) -> dict[int, Loaded]:
    """Load every file of a folder with its caption; with ``discard``, only strict winners."""
    captions: dict[int, str] = {}
    for line in prompt_path.read_text(encoding="utf-8").split("\n")[:-1]:
        row: dict[str, Any] = ast.literal_eval(line)
        assert [*row] == [
            "index",
            "seed",
            "caption",
            "original_score_list",
            "optimized_score_list",
        ]
        is_better = row["original_score_list"][0] < row["optimized_score_list"][0]
        if is_better or not discard:
            captions[row["index"]] = row["caption"]
    loaded = {}
    for path in data_dir.iterdir():
        with np.load(path, allow_pickle=False) as file:
            assert file.files == ["arr_0", "arr_1", "arr_2"]
            index = file["arr_2"].item()
            assert isinstance(index, int)
            for name in ("arr_0", "arr_1"):
                assert file[name].dtype == np.float16 and file[name].shape == (1, *SHAPE)
            if index in captions:
                noises = file["arr_0"].squeeze(0), file["arr_1"].squeeze(0)
                loaded[index] = Loaded(*noises, captions[index])
    return loaded


def _log(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "prompts.txt").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("split", list(Split))
def test_authors_loader_reads_the_pairs_of_a_split(
    sealed_folder: Path, tmp_path: Path, split: Split
) -> None:
    made = export_to(tmp_path / "out", sealed_folder, "golden-noise-npz", samples_per_file=7)
    assert made.remarks == ()
    folder = tmp_path / "out" / split.value
    loaded = load_as_the_authors(folder / "pairs", folder / "prompts.txt", discard=True)
    ours = our_samples(sealed_folder, split)
    ids = [f"{row['seed']:08x}" for row in _log(folder)]
    assert sorted(loaded) == list(range(len(ours)))
    by_prompt_and_seed = {(s["prompt"], f"{s['seed']:08x}"): s for s in ours.values()}
    for index, pair in loaded.items():
        sample = by_prompt_and_seed.pop((pair.caption, ids[index]))
        assert np.array_equal(pair.source, sample["source_noise"].numpy())
        assert np.array_equal(pair.golden, sample["golden_noise"].numpy())
    assert not by_prompt_and_seed


def test_log_names_files_and_holds_the_scores_that_selected(
    sealed_folder: Path, tmp_path: Path
) -> None:
    export_to(tmp_path / "out", sealed_folder, "golden-noise-npz", "train")
    rows = _log(tmp_path / "out" / "train")
    names = {path.name for path in (tmp_path / "out" / "train" / "pairs").iterdir()}
    assert names == {f"{row['index']}_{row['seed']}.npz" for row in rows}
    ours = {(s["prompt"], s["seed"]): s for s in our_samples(sealed_folder).values()}
    for row in rows:
        sample = ours[row["caption"], row["seed"]]
        assert row["original_score_list"] == [sample["source_rewards"]["scene"]]
        assert row["optimized_score_list"] == [sample["golden_rewards"]["scene"]]


def test_pairs_that_are_not_strictly_better_are_told_with_their_number(
    bare_folder: Path, tmp_path: Path
) -> None:
    made = export_to(tmp_path / "out", bare_folder, "golden-noise-npz")
    ours = our_samples(bare_folder)
    worse = sum(
        sample["golden_rewards"]["scene"] <= sample["source_rewards"]["scene"]
        for sample in ours.values()
    )
    assert 0 < worse < len(ours)
    (remark,) = made.remarks
    assert remark.startswith(f"{worse} pairs were kept, under a negative margin")
    folder = tmp_path / "out" / "train"
    loaded = load_as_the_authors(folder / "pairs", folder / "prompts.txt", discard=True)
    assert len(loaded) == len(ours) - worse
    everything = load_as_the_authors(folder / "pairs", folder / "prompts.txt", discard=False)
    assert len(everything) == len(ours)


def test_source_noise_that_is_not_stored_is_rebuilt(bare_folder: Path, tmp_path: Path) -> None:
    assert not manifest_of(bare_folder).plan.settings.output.source_noise
    export_to(tmp_path / "out", bare_folder, "golden-noise-npz")
    folder = tmp_path / "out" / "train"
    ours = {(s["prompt"], s["seed"]): s for s in our_samples(bare_folder).values()}
    loaded = load_as_the_authors(folder / "pairs", folder / "prompts.txt", discard=False)
    for row in _log(folder):
        wanted = ours[row["caption"], row["seed"]]["source_noise"].numpy()
        assert np.array_equal(loaded[row["index"]].source, wanted)
