"""Samples of our reader, and their comparison with the rows of another library."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.records import Split
from pipeline.reader import NoisePairDataset
from pipeline.storage.layout import ShardFormat
from tests.sealed import manifest_of

SHAPE = (4, 8, 8)
REWARDS = ("source_rewards", "golden_rewards")
NOISES = ("source_noise", "golden_noise")


def shard_paths(folder: Path, shard_format: ShardFormat, split: Split = Split.TRAIN) -> list[str]:
    """Return the shards that the manifest names, in order."""
    shards = manifest_of(folder).shards[split][shard_format]
    return [str(folder / shard.key) for shard in shards]


def ledger_path(folder: Path) -> str:
    return str(folder / manifest_of(folder).ledger.key)


def our_samples(url: object, split: Split = Split.TRAIN) -> dict[str, dict[str, Any]]:
    """Return the samples of our reader by their id."""
    return {sample["sample_id"]: sample for sample in NoisePairDataset(str(url), split.value)}


def assert_ours(rows: Iterable[Mapping[str, Any]], ours: Mapping[str, Mapping[str, Any]]) -> None:
    """Assert that another library returns each sample once, with the values of our reader."""
    found = {row["sample_id"]: row for row in rows}
    assert found.keys() == ours.keys() and len(ours) > 2
    for name, row in found.items():
        sample = ours[name]
        for key in ("prompt", "prompt_id", "seed", *REWARDS):
            assert row[key] == sample[key], key
        for key in NOISES:
            assert np.array_equal(_noise(row[key]), sample[key].numpy()), key


def _noise(values: Any) -> npt.NDArray[Any]:
    return np.asarray(values).reshape(SHAPE)
