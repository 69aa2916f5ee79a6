"""Kept pairs as one Arrow file, the same bytes for the same pairs."""

from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO

import pyarrow as pa

from pipeline.storage.schema import NoisePair, PairSchema


def pack_pairs(pairs: Sequence[NoisePair], schema: PairSchema, rows_per_batch: int) -> bytes:
    """An Arrow IPC file of pairs in their order; without pairs, a file of no rows."""
    sink = pa.BufferOutputStream()
    write_batches(sink, schema.arrow(), [schema.to_batch(pairs)], rows_per_batch)
    return bytes(sink.getvalue())


def write_batches(
    sink: pa.NativeFile | BinaryIO,
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch],
    rows_per_batch: int,
) -> None:
    """Write rows as uncompressed record batches of a fixed number of rows (the last has the rest).

    Uncompressed, so that a memory-mapped file is read without copying.
    """
    with pa.ipc.new_file(sink, schema) as writer:
        for batch in _rebatched(batches, rows_per_batch):
            writer.write_batch(batch)


def _rebatched(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    waiting: list[pa.RecordBatch] = []
    num_waiting = 0
    for batch in batches:
        while num_waiting + batch.num_rows >= rows:
            taken = rows - num_waiting
            yield _joined([*waiting, batch.slice(0, taken)])
            waiting, num_waiting, batch = [], 0, batch.slice(taken)
        if batch.num_rows:
            waiting.append(batch)
            num_waiting += batch.num_rows
    if waiting:
        yield _joined(waiting)


def _joined(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """One record batch, copied: a slice would be written with the buffers of the whole."""
    return pa.concat_batches(batches)
