"""Shards and ledger, read by Hugging Face ``datasets`` without our code."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset, Features, IterableDataset, List, Value, load_dataset

from tests.reader.others.ours import (
    NOISES,
    assert_ours,
    ledger_path,
    our_samples,
    shard_paths,
)

Loaded = Dataset | IterableDataset
STREAMING = pytest.mark.parametrize("streaming", [False, True])


@pytest.fixture(autouse=True)
def _temporary_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the files that the library prepares out of the user's home."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def _load(builder: str, files: object, *, streaming: bool = False) -> Any:
    return load_dataset(builder, data_files=files, split="train", streaming=streaming)


@STREAMING
def test_datasets_arrow_shards_are_our_samples(sealed_folder: Path, streaming: bool) -> None:
    paths = shard_paths(sealed_folder, "arrow")
    pairs = _load("arrow", paths, streaming=streaming)
    assert isinstance(pairs, IterableDataset if streaming else Dataset)
    assert_ours(pairs, our_samples(sealed_folder))


@STREAMING
def test_datasets_tar_shards_are_our_samples(sealed_folder: Path, streaming: bool) -> None:
    paths = shard_paths(sealed_folder, "webdataset")
    pairs = _load("webdataset", paths, streaming=streaming)
    rows = [{**row["json"], **{name: row[f"{name}.npy"] for name in NOISES}} for row in pairs]
    assert_ours(rows, our_samples(sealed_folder))


def test_datasets_keeps_the_types_of_the_columns(sealed_folder: Path) -> None:
    features: Features = _load("arrow", shard_paths(sealed_folder, "arrow")).features
    assert features["golden_noise"] == List(Value("float16"), length=256)
    assert features["seed"] == Value("int64")
    assert features["golden_rewards"] == {"scene": Value("float32"), "oracle": Value("float32")}


def test_datasets_returns_float16_tensors_on_request(sealed_folder: Path) -> None:
    pairs = _load("arrow", shard_paths(sealed_folder, "arrow"))
    noises = pairs.select_columns(list(NOISES)).with_format("torch", dtype=torch.float16)
    ours = our_samples(sealed_folder)
    for name, row in zip(pairs["sample_id"], noises, strict=True):
        for key in NOISES:
            assert row[key].dtype == torch.float16
            assert torch.equal(row[key].view(4, 8, 8), ours[name][key])


@STREAMING
def test_datasets_ledger_is_the_rows_that_pyarrow_reads(
    sealed_folder: Path, streaming: bool
) -> None:
    ledger = _load("parquet", ledger_path(sealed_folder), streaming=streaming)
    rows = pq.read_table(ledger_path(sealed_folder)).to_pylist()
    assert list(ledger) == rows
    kept = {row["sample_id"] for row in rows if row["status"] == "kept" and row["split"] == "train"}
    assert kept == our_samples(sealed_folder).keys()


def test_datasets_keeps_float16_bit_for_bit(sealed_folder: Path) -> None:
    pairs = _load("arrow", shard_paths(sealed_folder, "arrow")).with_format("arrow")
    column = pairs[:]["golden_noise"].combine_chunks()
    stored = np.asarray(column.flatten()).view(np.uint16)
    ours = our_samples(sealed_folder)
    ids = pairs[:]["sample_id"].to_pylist()
    expected = np.concatenate([ours[name]["golden_noise"].numpy().ravel() for name in ids])
    assert np.array_equal(stored, expected.view(np.uint16))
