"""MosaicML streaming: MDS shards. Shards from S3 are copied to a local folder first."""

from collections.abc import Iterator
from pathlib import Path

from benchmarks.peers.peer import BATCH_SIZE, COLUMNS, FILE_BYTES, Batch, Reading, train_pairs

_COLUMNS = {
    "source_noise": "ndarray:float16:4,128,128",
    "golden_noise": "ndarray:float16:4,128,128",
    "prompt": "str",
    "seed": "int",
}
"""Encodings with the shape in the type, which its documentation calls the fastest."""


class Mosaic:
    """Reads with ``StreamingDataset`` and ``StreamingDataLoader``."""

    module = "streaming"

    def prepare(self, sealed: Path, folder: Path) -> None:
        """Write MDS shards."""
        from streaming import MDSWriter

        with MDSWriter(out=str(folder), columns=_COLUMNS, size_limit=FILE_BYTES) as writer:
            for pair in train_pairs(sealed):
                writer.write({name: getattr(pair, name) for name in COLUMNS})

    def epochs(self, reading: Reading) -> Iterator[Iterator[Batch]]:
        """Use one canonical node, as its documentation advises for one machine."""
        from streaming import StreamingDataLoader, StreamingDataset

        dataset = StreamingDataset(
            local=str(reading.work / "mds") if reading.is_remote else reading.url,
            remote=reading.url if reading.is_remote else None,
            shuffle=reading.shuffle,
            shuffle_seed=0,
            batch_size=BATCH_SIZE,
            num_canonical_nodes=1,
        )
        loader = StreamingDataLoader(
            dataset,
            batch_size=BATCH_SIZE,
            num_workers=reading.workers,
            persistent_workers=reading.workers > 0,
        )
        while True:
            yield iter(loader)
