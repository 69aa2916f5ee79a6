"""This project: memory-mapped Arrow shards. Batches are views until they are copied once."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from torch.utils.data import DataLoader

from benchmarks.peers.peer import BATCH_SIZE, COLUMNS, Batch, Reading
from pipeline.reader import Cache, NoisePairDataset


class Ours:
    """Reads the sealed data set as it is. Digests are checked at first reading, the default."""

    module = "pipeline"

    def prepare(self, sealed: Path, folder: Path) -> None:
        """Convert nothing."""
        shutil.copytree(sealed, folder)

    def epochs(self, reading: Reading) -> Iterator[Iterator[Batch]]:
        """Return a ``DataLoader`` over ``NoisePairDataset``."""
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
