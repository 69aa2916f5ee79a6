"""litData: optimised chunks. Chunks from S3 are copied to a local cache first."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.peers.peer import BATCH_SIZE, FILE_BYTES, Batch, Reading, train_pairs
from pipeline.storage.formats.pairs import NoisePair


class LitData:
    """Reads with ``StreamingDataset`` and ``StreamingDataLoader``."""

    module = "litdata"

    def prepare(self, sealed: Path, folder: Path) -> None:
        """Use the writer of ``optimize``, without its processes."""
        from litdata.streaming.writer import BinaryWriter

        writer = BinaryWriter(cache_dir=str(folder), chunk_bytes=FILE_BYTES)
        for index, pair in enumerate(train_pairs(sealed)):
            writer.add_item(index, _sample(pair))
        writer.done()
        writer.merge()

    def epochs(self, reading: Reading) -> Iterator[Iterator[Batch]]:
        """Yield batches of tensors, which the library reads without copying."""
        from litdata import StreamingDataLoader, StreamingDataset
        from litdata.streaming import downloader

        # Its client rejects plain HTTP, which this server uses, and has no option to allow it.
        downloader._OBSTORE_CLIENT_OPTIONS["allow_http"] = True
        dataset = StreamingDataset(
            reading.url,
            cache_dir=str(reading.work),
            shuffle=reading.shuffle,
            seed=0,
            drop_last=False,
            storage_options=_storage() if reading.is_remote else {},
        )
        loader = StreamingDataLoader(
            dataset,
            batch_size=BATCH_SIZE,
            num_workers=reading.workers,
            persistent_workers=reading.workers > 0,
        )
        while True:
            yield iter(loader)


def _sample(pair: NoisePair) -> dict[str, Any]:
    assert pair.source_noise is not None, "sealed pairs come with their source noise"
    return {
        "source_noise": torch.from_numpy(pair.source_noise.copy()),
        "golden_noise": torch.from_numpy(pair.golden_noise.copy()),
        "prompt": pair.prompt,
        "seed": pair.seed,
    }


def _storage() -> dict[str, str]:
    return {
        "endpoint_url": os.environ["AWS_ENDPOINT_URL"],
        "aws_access_key_id": os.environ["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": os.environ["AWS_SECRET_ACCESS_KEY"],
    }
