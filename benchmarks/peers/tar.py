"""webdataset: tar shards. Shards from S3 are read through curl, as in its documentation."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.peers.peer import (
    BATCH_SIZE,
    SAMPLES_PER_FILE,
    Batch,
    Reading,
    files_below,
    presigned,
)
from pipeline.publish.export import export, specify_export
from pipeline.storage.open import open_store

_SHUFFLE_BUFFER = 1000
"""Size of the shuffle buffer in its documentation."""


class Tar:
    """Reads ``WebDataset`` with batches made in the workers, through a ``WebLoader``."""

    module = "webdataset"

    def prepare(self, sealed: Path, folder: Path) -> None:
        """Write tar shards."""
        store = open_store(str(sealed))
        spec = specify_export(store, "webdataset", samples_per_file=SAMPLES_PER_FILE)
        export(store, open_store(str(folder)), spec)

    def epochs(self, reading: Reading) -> Iterator[Iterator[Batch]]:
        """Read with ``.decode().to_tuple().batched()``."""
        import webdataset as wds

        keys = files_below(reading.url, ".tar")
        urls = [f"{reading.url}/{key}" for key in keys]
        if reading.is_remote:
            urls = [f"pipe:curl -s -f '{url}'" for url in presigned(reading.url, keys)]
        dataset = wds.WebDataset(urls, shardshuffle=100 if reading.shuffle else False, seed=0)
        if reading.shuffle:
            dataset = dataset.shuffle(_SHUFFLE_BUFFER, seed=0)
        dataset = (
            dataset.decode()
            .to_tuple("source_noise.npy", "golden_noise.npy", "json")
            .batched(BATCH_SIZE)
            .map(_batch)
        )
        loader = wds.WebLoader(
            dataset,
            batch_size=None,
            num_workers=reading.workers,
            persistent_workers=reading.workers > 0,
        )
        while True:
            yield iter(loader)


def _batch(columns: tuple[Any, Any, Any]) -> Batch:
    source, golden, rest = columns
    return {
        "source_noise": torch.from_numpy(source),
        "golden_noise": torch.from_numpy(golden),
        "prompt": [each["prompt"] for each in rest],
        "seed": [each["seed"] for each in rest],
    }
