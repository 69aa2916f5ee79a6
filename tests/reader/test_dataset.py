"""The reader that training code uses, under a real ``DataLoader``."""

import io
import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from pipeline.core.errors import NPDError, ObjectNotFoundError, UserError
from pipeline.core.records import Outcome, Split
from pipeline.publish.compact import compact_in
from pipeline.publish.select import select
from pipeline.reader import NoisePairDataset
from pipeline.storage.formats.pairs import NoisePair
from pipeline.storage.open import open_store
from tests.reader.rewritten import rewritten
from tests.sealed import Built, build, changed, demo_prompts, manifest_of

# The tests use more workers than the machine may have cores.
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")


def _rows(folder: Path, split: Split) -> list[dict[str, Any]]:
    """Return the rows of the Arrow shards, read by pyarrow."""
    return [
        row
        for shard in manifest_of(folder).shards[split]["arrow"]
        for row in pa.ipc.open_file(str(folder / shard.key)).read_all().to_pylist()
    ]


def _assert_is(sample: dict[str, Any], row: dict[str, Any]) -> None:
    for name in ("sample_id", "prompt", "prompt_id", "seed", "noise_stats"):
        assert sample[name] == row[name]
    for name in ("source_noise", "golden_noise"):
        assert sample[name].dtype == torch.float16 and sample[name].shape == (4, 8, 8)
        assert sample[name].flatten().tolist() == row[name]
    for name in ("source_rewards", "golden_rewards"):
        assert sample[name] == row[name]
    for name in ("source_image", "golden_image"):
        picture = np.array(Image.open(io.BytesIO(row[name])))
        assert sample[name].dtype == torch.uint8
        assert np.array_equal(sample[name].numpy(), picture)


@pytest.mark.parametrize("split", list(Split))
def test_samples_are_the_rows_of_the_arrow_shards(sealed_folder: Path, split: Split) -> None:
    dataset = NoisePairDataset(str(sealed_folder), split.value)
    rows = _rows(sealed_folder, split)
    samples = list(dataset)
    assert len(dataset) == len(samples) == len(rows)
    for sample, row in zip(samples, rows, strict=True):
        _assert_is(sample, row)
    assert [sample["sample_id"] for sample in dataset] == [row["sample_id"] for row in rows]


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
def test_dataloader_gives_each_sample_exactly_once(sealed_folder: Path, workers: int) -> None:
    dataset = NoisePairDataset(sealed_folder.as_uri(), "train")
    rows = {row["sample_id"]: row for row in _rows(sealed_folder, Split.TRAIN)}
    samples = list(DataLoader(dataset, batch_size=None, num_workers=workers))
    assert sorted(sample["sample_id"] for sample in samples) == sorted(rows)
    for sample in samples:
        _assert_is(sample, rows[sample["sample_id"]])


def test_dataloader_with_more_workers_than_samples_gives_each_once(sealed_folder: Path) -> None:
    dataset = NoisePairDataset(str(sealed_folder), "validation")
    workers = len(dataset) + 2
    ids = [s["sample_id"] for s in DataLoader(dataset, batch_size=None, num_workers=workers)]
    assert sorted(ids) == sorted(row["sample_id"] for row in _rows(sealed_folder, Split.VALIDATION))


def test_default_collate_makes_batches(sealed_folder: Path) -> None:
    dataset = NoisePairDataset(str(sealed_folder), "train")
    batch = next(iter(DataLoader(dataset, batch_size=5)))
    rows = _rows(sealed_folder, Split.TRAIN)[:5]
    assert batch["source_noise"].shape == batch["golden_noise"].shape == (5, 4, 8, 8)
    assert batch["golden_image"].shape == (5, 32, 32, 3)
    assert batch["prompt"] == [row["prompt"] for row in rows]
    assert batch["seed"].tolist() == [row["seed"] for row in rows]
    scores = [row["golden_rewards"]["scene"] for row in rows]
    assert batch["golden_rewards"]["scene"].tolist() == scores


def test_tensors_outlive_the_dataset_and_are_writable(sealed_folder: Path) -> None:
    first, *_ = NoisePairDataset(str(sealed_folder))
    before = first["golden_noise"].clone()
    first["golden_noise"] += 1
    again, *_ = NoisePairDataset(str(sealed_folder))
    assert torch.equal(again["golden_noise"], before)


def test_webdataset_shards_give_the_same_samples(
    built: Built, sealed_folder: Path, tmp_path: Path
) -> None:
    rewritten(built, str(tmp_path), lambda pair: pair, formats=("webdataset",))
    assert not list(tmp_path.rglob("shards/**/*.arrow"))
    dataset = NoisePairDataset(str(tmp_path), "train")
    samples = list(DataLoader(dataset, batch_size=None, num_workers=2))
    rows = {row["sample_id"]: row for row in _rows(sealed_folder, Split.TRAIN)}
    assert len(samples) == len(rows)
    for sample in samples:
        _assert_is(sample, rows[sample["sample_id"]])


@pytest.mark.parametrize("shard_format", ["arrow", "webdataset"])
def test_source_noise_that_is_not_stored_is_rebuilt(
    built: Built, sealed_folder: Path, tmp_path: Path, shard_format: str
) -> None:
    def without(pair: NoisePair) -> NoisePair:
        return replace(pair, source_noise=None)

    rewritten(built, str(tmp_path), without, formats=(shard_format,))
    for sample, row in zip(
        NoisePairDataset(str(tmp_path)), _rows(sealed_folder, Split.TRAIN), strict=True
    ):
        _assert_is(sample, row)


def test_images_that_are_not_stored_are_absent_and_missing_scores_are_nan(
    built: Built, tmp_path: Path
) -> None:
    def bare(pair: NoisePair) -> NoisePair:
        scores = {**pair.golden_rewards, "oracle": None}
        return replace(pair, source_image=None, golden_image=None, golden_rewards=scores)

    rewritten(built, str(tmp_path), bare, formats=("arrow", "webdataset"))
    sample, *_ = NoisePairDataset(str(tmp_path))
    assert "source_image" not in sample and "golden_image" not in sample
    assert math.isnan(sample["golden_rewards"]["oracle"])


def test_pictures_of_several_sizes_are_refused_as_a_batch(built: Built, tmp_path: Path) -> None:
    sizes = iter(range(30, 1000))

    def resized(pair: NoisePair) -> NoisePair:
        file = io.BytesIO()
        Image.new("RGB", (next(sizes), 40)).save(file, "PNG")
        return replace(pair, golden_image=file.getvalue())

    rewritten(built, str(tmp_path), resized)
    with pytest.raises(UserError, match="golden_image has 30x40, 31x40"):
        list(NoisePairDataset(str(tmp_path), batch_size=2))
    assert list(NoisePairDataset(str(tmp_path)))


def test_unknown_split_error_lists_the_splits(sealed_folder: Path) -> None:
    with pytest.raises(UserError, match="no split 'val'; there are train, validation, test"):
        NoisePairDataset(str(sealed_folder), "val")


def test_store_that_is_not_sealed_is_refused(built: Built, tmp_path: Path) -> None:
    built.commit(open_store(str(tmp_path)))
    with pytest.raises(UserError, match="nothing is sealed here"):
        NoisePairDataset(str(tmp_path))
    with pytest.raises(UserError, match="nothing is sealed here"):
        NoisePairDataset(str(tmp_path / "nowhere"))


def test_missing_shard_is_an_error_that_names_it(damaged: Path) -> None:
    key = manifest_of(damaged).shards[Split.TRAIN]["arrow"][1].key
    (damaged / key).unlink()
    with pytest.raises(ObjectNotFoundError, match=key):
        list(NoisePairDataset(str(damaged)))


def test_altered_manifest_is_refused(damaged: Path, built: Built) -> None:
    path = damaged / "manifests" / built.plan.plan_id / "v1.json"
    path.write_bytes(path.read_bytes().replace(b'"kept"', b'"Kept"'))
    with pytest.raises(NPDError, match="not the bytes that _SUCCESS promises"):
        NoisePairDataset(str(damaged))


@pytest.fixture
def sealed_on_s3(built: Built, s3_url: str) -> str:
    # Few shards, because each costs a separate client and half a second of CPU.
    rewritten(built, s3_url, lambda pair: pair, shard_bytes=40_000)
    return s3_url


def test_s3_gives_each_sample_exactly_once_to_workers(
    sealed_on_s3: str, sealed_folder: Path
) -> None:
    dataset = NoisePairDataset(sealed_on_s3, "train")
    rows = {row["sample_id"]: row for row in _rows(sealed_folder, Split.TRAIN)}
    for workers in (0, 2):
        samples = list(DataLoader(dataset, batch_size=None, num_workers=workers))
        assert sorted(sample["sample_id"] for sample in samples) == sorted(rows)
        for sample in samples:
            _assert_is(sample, rows[sample["sample_id"]])


def test_number_of_pairs_is_the_number_of_kept_outcomes(built: Built, sealed_folder: Path) -> None:
    outcomes: list[Outcome] = [o for unit in built.units for o in unit.outcomes]
    lengths = sum(len(NoisePairDataset(str(sealed_folder), split.value)) for split in Split)
    assert lengths == sum(outcome.status == "kept" for outcome in outcomes)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """A second plan: the first prompts again, with other seeds, in other units."""
    settings = changed(prompts={"seeds_per_prompt": 1, "seed": 8}, units={"size": 8})
    return build(tmp_path_factory.mktemp("other"), settings, prompts=demo_prompts(12))


@pytest.mark.parametrize("workers", [0, 3])
def test_plans_of_one_store_are_one_data_set_with_plan_ids(
    damaged: Path, built: Built, other: Built, workers: int
) -> None:
    before = {split: list(NoisePairDataset(str(damaged), split)) for split in Split}
    other.sealed_in(str(damaged))
    kept = {
        (each.plan.plan_id, outcome.split, outcome.sample_id)
        for each in (built, other)
        for unit in each.units
        for outcome in unit.outcomes
        if outcome.status == "kept"
    }
    found = []
    for split in Split:
        dataset = NoisePairDataset(str(damaged), split)
        samples = list(DataLoader(dataset, batch_size=None, num_workers=workers))
        assert len(samples) == len(dataset)
        found += [(sample["plan_id"], split, sample["sample_id"]) for sample in samples]
        first = {s["sample_id"]: s for s in samples if s["plan_id"] == built.plan.plan_id}
        assert [s["golden_noise"].tolist() for s in before[split]] == [
            first[s["sample_id"]]["golden_noise"].tolist() for s in before[split]
        ]
    assert len(found) == len(kept) and set(found) == kept
    assert {plan_id for plan_id, _, _ in found} == {built.plan.plan_id, other.plan.plan_id}


def test_plans_follow_each_other_without_workers(damaged: Path, other: Built) -> None:
    other.sealed_in(str(damaged))
    plans = [sample["plan_id"] for sample in NoisePairDataset(str(damaged))]
    assert plans == sorted(plans) and len(set(plans)) == 2


def test_reader_reads_the_new_selection(damaged: Path, built: Built, other: Built) -> None:
    other.sealed_in(str(damaged))
    store = open_store(str(damaged))
    select(store, {"scene": 1e9}, partial(map, partial(compact_in, store)), built.plan.plan_id)
    samples = [s for split in Split for s in NoisePairDataset(str(damaged), split)]
    assert samples and {sample["plan_id"] for sample in samples} == {other.plan.plan_id}
