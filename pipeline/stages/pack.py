"""Packing of noise pairs into one Arrow file. Equal pairs give equal bytes."""

from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO

import pyarrow as pa

from pipeline.storage.schema import NoisePair, PairSchema


def pack_pairs(pairs: Sequence[NoisePair], schema: PairSchema, rows_per_batch: int) -> bytes:
    """Return an Arrow IPC file of ``pairs`` in their order. The file may have no rows."""
    sink = pa.BufferOutputStream()
    write_batches(sink, schema.arrow(), [schema.to_batch(pairs)], rows_per_batch)
    return bytes(sink.getvalue())


def write_batches(
    sink: pa.NativeFile | BinaryIO,
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch],
    rows_per_batch: int,
) -> None:
    """Write rows as uncompressed record batches of ``rows_per_batch`` rows.

    The last batch holds the remaining rows. The batches are not compressed, so a memory-mapped file
    is read without copying.
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
    """Join slices into one record batch.

    The rows are copied because a slice would be written with the buffers of its full batch.
    """
    return pa.concat_batches(batches)
