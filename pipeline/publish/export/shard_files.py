"""Files with the content of sealed shards and a chosen number of pairs: Parquet and webdataset."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.publish.export.format import Format, SplitPart
from pipeline.storage.formats.pairs import PROMPTS, PairSchema
from pipeline.storage.formats.webdataset_shard import write_samples

ROWS_PER_GROUP = 100
"""Rows in a row group, the least that a reader fetches: 26 MB of SDXL-sized pairs."""


class Parquet(Format):
    """Writer for ``--format parquet``: ``train-00000-of-00010.parquet``."""

    def write_part(self, folder: Path, part: SplitPart) -> None:
        """Write one file."""
        schema = self.spec.schema
        path = folder / f"{part.name}.parquet"
        write_parquet(path, schema.arrow(), record_batches(part, schema))


class WebDataset(Format):
    """Writer for ``--format webdataset``: ``train-00000-of-00010.tar``."""

    def write_part(self, folder: Path, part: SplitPart) -> None:
        """Write one tar file."""
        with (folder / f"{part.name}.tar").open("wb") as file:
            write_samples(file, part.pairs)


def record_batches(part: SplitPart, schema: PairSchema) -> Iterator[pa.RecordBatch]:
    """Yield the pairs of a part in batches of one row group."""
    # Memory holds one row group, because the pairs are read from the shards as they are written.
    while pairs := list(islice(part.pairs, ROWS_PER_GROUP)):
        yield schema.to_batch(pairs)


def write_parquet(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    """Write a Parquet file with a row group for each record batch.

    Nothing is compressed, because nearly all of the data is noise. Only prompts have a dictionary,
    because they repeat for every seed.
    """
    with pq.ParquetWriter(path, schema, compression="none", use_dictionary=[*PROMPTS]) as writer:
        for batch in batches:
            writer.write_batch(batch)
