"""Hugging Face ``datasets``: memory-mapped Arrow from disk, ``streaming=True`` from S3."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler

from benchmarks.peers.peer import (
    BATCH_SIZE,
    COLUMNS,
    FILE_BYTES,
    Batch,
    Reading,
    files_below,
    presigned,
)

_SHAPE = (-1, 4, 128, 128)
_SHUFFLE_BUFFER = 1000
"""Size of the shuffle buffer in its documentation of streams."""


class HuggingFace:
    """Reads batches by index from disk, and batched Arrow tables from a stream."""

    module = "datasets"

    def prepare(self, sealed: Path, folder: Path) -> None:
        """Write Arrow files in its format, which it maps in place."""
        from datasets import load_dataset

        shards = sorted(map(str, sealed.rglob("train-*.arrow")))
        with tempfile.TemporaryDirectory(prefix="npd-prepare-") as cache:
            pairs = load_dataset("arrow", data_files=shards, split="train", cache_dir=cache)
            pairs.select_columns(list(COLUMNS)).save_to_disk(folder, max_shard_size=FILE_BYTES)

    def epochs(self, reading: Reading) -> Iterator[Iterator[Batch]]:
        """Return a ``DataLoader`` over the map-style data set, or over the stream."""
        loader: DataLoader[Any] = _stream(reading) if reading.is_remote else _mapped(reading)
        while True:
            yield iter(loader)


def _mapped(reading: Reading) -> DataLoader[Any]:
    from datasets import load_from_disk

    pairs = load_from_disk(reading.url).with_format("arrow")
    order = RandomSampler(pairs) if reading.shuffle else SequentialSampler(pairs)
    return DataLoader(
        pairs,
        sampler=BatchSampler(order, BATCH_SIZE, drop_last=False),
        batch_size=None,
        collate_fn=_batch,
        num_workers=reading.workers,
        persistent_workers=reading.workers > 0,
    )


def _stream(reading: Reading) -> DataLoader[Any]:
    from datasets import load_dataset

    urls = presigned(reading.url, files_below(reading.url, ".arrow"))
    pairs = load_dataset("arrow", data_files=urls, split="train", streaming=True)
    if reading.shuffle:
        pairs = pairs.shuffle(seed=0, buffer_size=_SHUFFLE_BUFFER)
    return DataLoader(
        pairs.with_format("arrow").batch(BATCH_SIZE),
        batch_size=None,
        collate_fn=_batched_row,
        num_workers=reading.workers,
        persistent_workers=reading.workers > 0,
    )


def _batch(table: Any) -> Batch:
    """Convert an Arrow table to tensors.

    This is faster than the library's torch format, which converts row by row.
    """
    return {
        "source_noise": _noise(table["source_noise"]),
        "golden_noise": _noise(table["golden_noise"]),
        "prompt": table["prompt"].to_pylist(),
        "seed": table["seed"].to_pylist(),
    }


def _noise(column: Any) -> torch.Tensor:
    values = column.combine_chunks().flatten().to_numpy().reshape(_SHAPE)
    return torch.from_numpy(np.array(values))


def _batched_row(table: Any) -> Batch:
    """Return a table with one row, whose cells are lists of a batch."""
    return {
        "source_noise": _nested(table["source_noise"]),
        "golden_noise": _nested(table["golden_noise"]),
        "prompt": table["prompt"].to_pylist()[0],
        "seed": table["seed"].to_pylist()[0],
    }


def _nested(column: Any) -> torch.Tensor:
    values = column.combine_chunks().flatten().flatten().to_numpy().reshape(_SHAPE)
    return torch.from_numpy(np.array(values))
