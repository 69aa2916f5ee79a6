"""The columns of an Arrow shard, of which only what is used is read, and checked before that."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.reader.checked import CheckedBytes
from pipeline.reader.columns import IMAGES, NUMBERS, TEXTS, PairColumns, Scores
from pipeline.storage.schema import Noise

_LARGE = ("source_noise", "golden_noise", *IMAGES)
"""Of these the values, which are the last buffer, are checked row by row."""

_MAGIC_BYTES = 8
_PREFIX_BYTES = 8
"""Before each message: a mark, and how long the message is without its body (int32)."""


def read_arrow(content: CheckedBytes, plan_id: str) -> PairColumns:
    """The columns of a mapped file. Raises one of ``UNREADABLE``, and ``VerificationError``."""
    messages = list(_messages(content))
    schema = pa.ipc.read_schema(messages[0])
    batches = [pa.ipc.read_record_batch(message, schema) for message in messages[1:]]
    for batch in batches:
        _check_small(content, batch)
    table = pa.Table.from_batches(batches, schema)
    is_stored = {name: table[name].null_count == 0 for name in _LARGE}
    noises = {
        name: _noise(content, [batch.column(name) for batch in batches])
        for name in ("source_noise", "golden_noise")
        if is_stored[name]
    }
    return PairColumns(
        plan_id=plan_id,
        content=content,
        texts={name: table[name].to_pylist() for name in TEXTS},
        seeds=_values(table["seed"].combine_chunks()),
        source_noise=noises.get("source_noise"),
        golden_noise=noises["golden_noise"],
        numbers={name: _struct(table[name].combine_chunks()) for name in NUMBERS},
        images={
            name: _image(content, [batch.column(name) for batch in batches])
            for name in IMAGES
            if is_stored[name]
        },
    )


def _messages(content: CheckedBytes) -> Iterator[pa.Message]:
    """Schema and record batches, checked but for their bodies.

    By the stream that an Arrow file holds, since reading its footer tells nobody where in the file
    the batches' own headers lie, which have to be checked before they are believed.
    """
    start = _MAGIC_BYTES
    while True:
        content.check(start, start + _PREFIX_BYTES)
        prefix = content.mapped[start : start + _PREFIX_BYTES]
        num_bytes = int.from_bytes(prefix[4:], "little")
        if not num_bytes:
            return
        end = start + _PREFIX_BYTES + num_bytes
        content.check(start, end)
        message = pa.ipc.read_message(content.buffer.slice(start))
        yield message
        start = end + (message.body.size if message.body else 0)


def _check_small(content: CheckedBytes, batch: pa.RecordBatch) -> None:
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        buffers = column.buffers()
        for buffer in buffers[:-1] if name in _LARGE else buffers:
            if buffer is not None:
                content.check_buffer(buffer)


def _noise(content: CheckedBytes, columns: Sequence[pa.Array]) -> Callable[[int], Noise]:
    """Rows as views of the mapping. Arrow's own ``flatten`` copies, and ``take`` does."""
    count = columns[0].type.list_size
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
        edges = first + np.frombuffer(offsets, np.int32, len(column) + 1)
        places += zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)

    def image(row: int) -> bytes:
        start, stop = places[row]
        content.check(start, stop)
        return content.mapped[start:stop]

    return image


def _struct(column: pa.StructArray) -> Scores:
    return {field.name: _values(column.field(field.name)) for field in column.type}


def _values(column: pa.Array) -> npt.NDArray[Any]:
    """Numbers, NaN where there is none.

    Not by Arrow's ``to_numpy`` and ``fill_null``: where pandas is installed, they import it first,
    which takes as long as the first ten batches.
    """
    if column.null_count == 0:
        return np.from_dlpack(column)
    return np.array([math.nan if value is None else value for value in column.to_pylist()], "f4")
