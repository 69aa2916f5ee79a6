"""The tar shards, read by ``webdataset`` without our code and without pickles."""

import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
import webdataset as wds

from pipeline.core.records import Split
from tests.conftest import BUCKET
from tests.reader.others.ours import NOISES, SHAPE, assert_ours, our_samples, shard_paths
from tests.sealed import Built, manifest_of


def _rows(samples: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {**sample["json"], **{name: sample[f"{name}.npy"] for name in NOISES}} for sample in samples
    ]


def test_webdataset_decodes_noises_and_json_as_our_reader(
    sealed_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_pickles(*arguments: object, **options: object) -> None:
        raise AssertionError("a pickle was loaded")

    monkeypatch.setattr(pickle, "loads", no_pickles)
    monkeypatch.setattr(pickle, "load", no_pickles)
    paths = shard_paths(sealed_folder, "webdataset")
    dataset = wds.WebDataset(paths, shardshuffle=False).decode()
    rows = _rows(dataset)
    for row in rows:
        for name in NOISES:
            assert row[name].dtype == np.float16 and row[name].shape == SHAPE
    assert_ours(rows, our_samples(sealed_folder))


def test_webdataset_decodes_pictures_as_our_reader(sealed_folder: Path) -> None:
    paths = shard_paths(sealed_folder, "webdataset")
    ours = our_samples(sealed_folder)
    samples = list(wds.WebDataset(paths, shardshuffle=False).decode("rgb8"))
    assert len(samples) == len(ours)
    for sample in samples:
        for name in ("source_image", "golden_image"):
            picture = ours[sample["__key__"]][name].numpy()
            assert np.array_equal(sample[f"{name}.png"], picture)


def test_webdataset_shuffles_and_batches_every_sample_once(sealed_folder: Path) -> None:
    paths = shard_paths(sealed_folder, "webdataset")
    dataset = wds.WebDataset(paths, shardshuffle=100, seed=1).shuffle(100).decode()
    batches = list(dataset.to_tuple("__key__", "golden_noise.npy").batched(4))
    assert batches[0][1].shape == (4, *SHAPE) and batches[0][1].dtype == np.float16
    keys = [key for names, _ in batches for key in names]
    assert sorted(keys) == sorted(our_samples(sealed_folder))


def test_webdataset_reads_from_s3_through_presigned_urls(built: Built, s3_url: str) -> None:
    manifest = built.sealed_in(s3_url)
    prefix = s3_url.removeprefix(f"s3://{BUCKET}/")
    s3 = boto3.client("s3")
    shards = manifest.shards[Split.TRAIN]["webdataset"]
    urls = [
        s3.generate_presigned_url(
            "get_object", Params={"Bucket": BUCKET, "Key": f"{prefix}/{shard.key}"}
        )
        for shard in shards
    ]
    dataset = wds.WebDataset([f"pipe:curl -sf '{url}'" for url in urls], shardshuffle=False)
    assert_ours(_rows(dataset.decode()), our_samples(s3_url))


def test_webdataset_and_arrow_shards_hold_the_same_numbers_of_samples(sealed_folder: Path) -> None:
    for formats in manifest_of(sealed_folder).shards.values():
        for shard in formats["webdataset"]:
            path = str(sealed_folder / shard.key)
            assert len(list(wds.WebDataset(path, shardshuffle=False))) == shard.num_samples
