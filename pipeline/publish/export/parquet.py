"""Parquet files with the columns of the sealed Arrow shards."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.publish.export.format import Format
from pipeline.publish.export.part import Part
from pipeline.storage.schema import PairSchema

ROWS_PER_GROUP = 100
"""26 MB of SDXL-sized pairs: what a reader that looks at a few rows has to fetch."""


class Parquet(Format):
    """``--format parquet``: ``train-00000-of-00010.parquet``."""

    def write_part(self, folder: Path, part: Part) -> None:
        """One file."""
        schema = self.order.schema
        path = folder / f"{part.name}.parquet"
        write_parquet(path, schema.arrow(), record_batches(part, schema))


def record_batches(part: Part, schema: PairSchema) -> Iterator[pa.RecordBatch]:
    """The pairs of a part, so many at a time as stand in a row group."""
    while pairs := list(islice(part.pairs, ROWS_PER_GROUP)):
        yield schema.to_batch(pairs)


def write_parquet(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    """A file with a row group for each record batch.

    Nothing is compressed: nearly all of it is noise. A dictionary is made of prompts alone, which
    repeat for every seed.
    """
    with pq.ParquetWriter(
        path, schema, compression="none", use_dictionary=["prompt", "prompt_id"]
    ) as writer:
        for batch in batches:
            writer.write_batch(batch)
