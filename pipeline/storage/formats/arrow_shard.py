"""Arrow shards and unit objects: writer and reader of the columns in ``pairs.py``.

Equal pairs give equal bytes. The reader decodes only the values in use, and they are checked before
that.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import prod
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.storage.formats.arrow_messages import read_blocks
from pipeline.storage.formats.checked_bytes import CheckedBytes
from pipeline.storage.formats.pairs import (
    IMAGES,
    JUDGED,
    NOISE_STATS,
    NOISES,
    NUMBERS,
    SEED,
    TEXTS,
    Noise,
    NoisePair,
    Numbers,
    PairColumns,
    PairSchema,
)

_LARGE = (*NOISES, *IMAGES)
"""Columns with large values. Their last buffer, the values, is checked row by row."""


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
        # The division into batches must not depend on how the rows arrive, so that equal pairs give
        # equal bytes.
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


def read_rows(content: CheckedBytes, schema: PairSchema) -> pa.Table:
    """Return the rows of a file, validated. Raise one of ``UNREADABLE`` or ``VerificationError``.

    pyarrow does not validate what it reads: values taken from a batch with wrong offsets end the
    process with a signal. Batches are located by the stream and not by the footer. The headers of
    the stream must be checked before use, and the footer does not contain their positions.
    """
    blocks = read_blocks(content)
    columns = pa.ipc.read_schema(blocks[0].message)
    if not columns.equals(schema.arrow(), check_metadata=True):
        raise ValueError("its columns are not those of the contract")
    batches = [pa.ipc.read_record_batch(block.message, columns) for block in blocks[1:]]
    for batch in batches:
        _check_small(content, batch)
        # For noises and pictures this reads sizes and offsets only, not the unchecked values.
        batch.validate(full=True)
        for noise in map(batch.column, NOISES):
            # Where no noise is stored, its values are null.
            if not noise.null_count and noise.values.null_count:
                raise ValueError("a noise has missing values")
    table = pa.Table.from_batches(batches, columns)
    for field in columns:
        _check_complete(table, field)
    return table


def read_arrow(content: CheckedBytes, plan_id: str, schema: PairSchema) -> PairColumns:
    """Read the columns of a mapped file. Raise the errors of ``read_rows``."""
    table = read_rows(content, schema)
    batches = table.to_batches()
    is_stored = {name: not table[name].null_count for name in table.column_names}
    num_values = prod(schema.latent_shape)
    # Rewards may be missing in a row, statistics never.
    numbers = {name: _struct(table[name].combine_chunks()) for name in NUMBERS}
    if any(np.isnan(values).any() for values in numbers[NOISE_STATS].values()):
        raise ValueError("a statistic is missing")
    return PairColumns(
        plan_id=plan_id,
        latent_shape=schema.latent_shape,
        content=content,
        texts={name: table[name].to_pylist() for name in TEXTS},
        seeds=_values(table[SEED].combine_chunks()),
        noises={
            name: _noise(content, [batch.column(name) for batch in batches], num_values)
            for name in NOISES
            if is_stored[name]
        },
        numbers=numbers,
        images={
            name: _image(content, [batch.column(name) for batch in batches])
            for name in IMAGES
            if is_stored[name]
        },
        judged=np.array(table[JUDGED].to_pylist(), np.bool_) if schema.has_judged else None,
    )


def _check_complete(table: pa.Table, field: pa.Field) -> None:
    """Raise ``ValueError`` if only some pairs have a column, or none have a required one."""
    nulls = table[field.name].null_count
    if nulls not in (0, len(table) if field.nullable else 0):
        raise ValueError(f"{field.name} is missing in {nulls} of {len(table)} pairs")


def _check_small(content: CheckedBytes, batch: pa.RecordBatch) -> None:
    """Check the buffers of a batch, except the values of large columns.

    Raises ``ValueError`` for a buffer outside the file, which means that its values are compressed.
    """
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        buffers = column.buffers()
        for buffer in buffers:
            start = 0 if buffer is None else content.position(buffer)
            if buffer and not 0 <= start <= start + buffer.size <= content.num_bytes:
                raise ValueError(f"the values of {name} do not lie in the file")
        # The last buffer of a list or binary column holds the values; the others are offsets and
        # the bitmap of missing rows.
        for buffer in buffers[:-1] if name in _LARGE else buffers:
            if buffer is not None:
                content.check_buffer(buffer)


def _noise(
    content: CheckedBytes, columns: Sequence[pa.Array], count: int
) -> Callable[[int], Noise]:
    """Return a function from a row to a view of the mapping.

    Arrow's ``flatten`` and ``take`` would copy the values.
    """
    num_bytes = count * np.dtype(np.float16).itemsize
    starts: list[int] = []
    for column in columns:
        first = content.position(column.buffers()[-1])
        starts += range(first, first + len(column) * num_bytes, num_bytes)

    def noise(row: int) -> Noise:
        start = starts[row]
        content.check(start, start + num_bytes)
        return np.frombuffer(content.mapped, np.float16, count, start)

    return noise


def _image(content: CheckedBytes, columns: Sequence[pa.Array]) -> Callable[[int], bytes]:
    places: list[tuple[int, int]] = []
    for column in columns:
        _, offsets, values = column.buffers()
        first = content.position(values)
        # Offsets count from the start of the values, one more than there are rows.
        edges = first + np.frombuffer(offsets, np.int32, len(column) + 1)
        places += zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)

    def image(row: int) -> bytes:
        start, stop = places[row]
        content.check(start, stop)
        return content.mapped[start:stop]

    return image


def _struct(column: pa.StructArray) -> Numbers:
    return {field.name: _numbers(column.field(field.name)) for field in column.type}


def _numbers(column: pa.Array) -> npt.NDArray[Any]:
    """Return the numbers of a column. Raise ``ValueError`` for NaN, which marks missing numbers."""
    # A stored NaN would be read as a missing number, so the number of both must agree.
    values = _values(column)
    if np.isinf(values).any() or np.isnan(values).sum() != column.null_count:
        raise ValueError("a score or a statistic is not finite")
    return values


def _values(column: pa.Array) -> npt.NDArray[Any]:
    """Return the numbers of a column as an array. Missing numbers are NaN.

    Arrow's ``to_numpy`` and ``fill_null`` are not used: they import pandas if it is installed,
    which takes as long as the first ten batches.
    """
    if column.null_count == 0:
        return np.from_dlpack(column)
    return np.array([math.nan if value is None else value for value in column.to_pylist()], "f4")
