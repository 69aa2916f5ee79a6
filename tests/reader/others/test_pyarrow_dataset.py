"""The Arrow shards as one ``pyarrow.dataset``, from a folder and from S3."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pytest
from pyarrow.fs import S3FileSystem

from pipeline.core.records import Split
from tests.reader.others.ours import SHAPE, assert_ours, our_samples, shard_paths
from tests.sealed import Built


def _gain(sample: dict[str, Any]) -> float:
    golden, source = sample["golden_rewards"]["scene"], sample["source_rewards"]["scene"]
    return float(np.float32(golden) - np.float32(source))


def test_pyarrow_dataset_rows_are_our_samples(sealed_folder: Path) -> None:
    pairs = ds.dataset(shard_paths(sealed_folder, "arrow"), format="arrow")
    ours = our_samples(sealed_folder)
    assert pairs.count_rows() == len(ours)
    assert_ours(pairs.to_table().to_pylist(), ours)


@pytest.mark.parametrize("least", [0.0, 1.0, 3.0])
def test_pyarrow_dataset_filters_by_the_gain_in_a_reward(sealed_folder: Path, least: float) -> None:
    pairs = ds.dataset(shard_paths(sealed_folder, "arrow"), format="arrow")
    gain = pc.field("golden_rewards", "scene") - pc.field("source_rewards", "scene")
    found = pairs.to_table(columns=["sample_id", "golden_noise"], filter=gain > least)
    ours = our_samples(sealed_folder)
    wanted = {name for name, sample in ours.items() if _gain(sample) > least}
    assert set(found["sample_id"].to_pylist()) == wanted
    assert wanted and (least == 0.0 or len(wanted) < len(ours))
    noise = found["golden_noise"].combine_chunks().flatten().to_numpy().reshape(-1, *SHAPE)
    for name, values in zip(found["sample_id"].to_pylist(), noise, strict=True):
        assert values.dtype == np.float16
        assert np.array_equal(values, ours[name]["golden_noise"].numpy())


def test_pyarrow_dataset_filters_by_noise_statistics(sealed_folder: Path) -> None:
    pairs = ds.dataset(shard_paths(sealed_folder, "arrow"), format="arrow")
    ours = our_samples(sealed_folder)
    changes = {name: s["noise_stats"]["relative_change"] for name, s in ours.items()}
    middle = float(np.median([*changes.values()]))
    found = pairs.to_table(filter=pc.field("noise_stats", "relative_change") > middle)
    wanted = {name for name, change in changes.items() if change > middle}
    assert set(found["sample_id"].to_pylist()) == wanted and len(wanted) in range(1, len(ours))


def test_pyarrow_dataset_reads_the_same_from_s3(built: Built, s3_url: str) -> None:
    shards = built.sealed_in(s3_url).shards[Split.TRAIN]["arrow"]
    s3 = S3FileSystem(
        access_key=os.environ["AWS_ACCESS_KEY_ID"],
        secret_key=os.environ["AWS_SECRET_ACCESS_KEY"],
        endpoint_override=os.environ["AWS_ENDPOINT_URL"],
    )
    folder = s3_url.removeprefix("s3://")
    pairs = ds.dataset([f"{folder}/{shard.key}" for shard in shards], format="arrow", filesystem=s3)
    assert_ours(pairs.to_table().to_pylist(), our_samples(s3_url))
