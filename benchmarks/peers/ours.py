"""Ours: memory-mapped Arrow shards; batches are views until they are copied once."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from torch.utils.data import DataLoader

from benchmarks.peers.peer import BATCH_SIZE, COLUMNS, Batch, Reading
from pipeline.reader import Cache, NoisePairDataset


class Ours:
    """The sealed data set as it is; digests are checked on first reading, as by default."""

    module = "pipeline"

    def prepare(self, sealed: Path, folder: Path) -> None:
        """Nothing to convert."""
        shutil.copytree(sealed, folder)

    def epochs(self, reading: Reading) -> Iterator[Iterator[Batch]]:
        """``NoisePairDataset`` under a ``DataLoader``."""
        pairs = NoisePairDataset(
            reading.url,
            seed=0 if reading.shuffle else None,
            batch_size=BATCH_SIZE,
            columns=COLUMNS,
            cache=Cache(reading.work) if reading.is_remote else None,
        )
        loader = DataLoader(
            pairs,
            batch_size=None,
            num_workers=reading.workers,
            persistent_workers=reading.workers > 0,
        )
        while True:
            yield iter(loader)
