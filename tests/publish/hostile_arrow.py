"""Arrow shards with a foreign structure, made from a valid one."""

import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

Variant = Callable[[bytes], bytes]


def _table(data: bytes) -> pa.Table:
    return pa.ipc.open_file(data).read_all()


def _written(table: pa.Table, rows: int = 2, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        for batch in table.combine_chunks().to_batches(max_chunksize=rows):
            writer.write_batch(pa.concat_batches([batch]))
    return bytes(sink.getvalue())


def _blocks_start(data: bytes) -> int:
    """Return the offset of the record batch blocks in the footer."""
    message = pa.ipc.read_message(pa.BufferReader(data[8:]))
    first = 8 + 8 + struct.unpack_from("<i", data, 12)[0]
    assert message.type == "schema"
    return data.rindex(struct.pack("<q", first))


def _with_blocks(data: bytes, order: Sequence[int]) -> bytes:
    """The footer names the same number of batches, or fewer, in another order."""
    start = _blocks_start(data)
    blocks = [data[start + 24 * index : start + 24 * (index + 1)] for index in range(3)]
    named = b"".join(blocks[index] for index in order)
    count = struct.pack("<I", len(order))
    return data[: start - 4] + count + named + data[start + len(named) :]


def swapped(data: bytes) -> bytes:
    return _with_blocks(data, [1, 0])


def repeated(data: bytes) -> bytes:
    return _with_blocks(data, [0, 0])


def left_out(data: bytes) -> bytes:
    return _with_blocks(data, [0])


def behind_the_stream(data: bytes) -> bytes:
    """The stream ends after the first batch, at a mark that the second one's place holds."""
    start = _blocks_start(data)
    second = struct.unpack_from("<q", data, start + 24)[0]
    end = struct.pack("<Ii", 0xFFFFFFFF, 0)
    moved = bytearray(data[:second] + end + data[second:])
    start += len(end)
    count = struct.unpack_from("<I", data, start - len(end) - 4)[0]
    for index in range(1, count):
        at = start + 24 * index
        struct.pack_into("<q", moved, at, struct.unpack_from("<q", moved, at)[0] + len(end))
    return bytes(moved)


def empty_buffer_elsewhere(data: bytes) -> bytes:
    """Buffers without bytes lie behind the end, which pyarrow's reader of footers trips over."""
    first = struct.unpack_from("<q", data, _blocks_start(data))[0]
    message = pa.ipc.read_message(pa.BufferReader(data[first:]))
    stop = first + 8 + struct.unpack_from("<i", data, first + 4)[0]
    changed = bytearray(data)
    for at in range(first + 8, stop - 16, 8):
        place, num_bytes = struct.unpack_from("<qq", data, at)
        if 0 < place < message.body.size and num_bytes == 0:
            struct.pack_into("<q", changed, at, place + 2**14)
    return bytes(changed)


def gap_before_the_footer(data: bytes) -> bytes:
    (length,) = struct.unpack_from("<i", data, len(data) - 10)
    footer = len(data) - 10 - length
    return data[:footer] + b"\0" * 64 + data[footer:]


def bytes_behind(data: bytes) -> bytes:
    return data + b"\0" * 8


def compressed(data: bytes) -> bytes:
    return _written(_table(data), compression="lz4")


def one_null(name: str) -> Variant:
    def change(data: bytes) -> bytes:
        table = _table(data)
        index = table.schema.get_field_index(name)
        values = table.column(index).combine_chunks()
        pieces = [pa.nulls(1, values.type), values.slice(1)]
        field = table.schema.field(index).with_nullable(True)
        return _written(table.set_column(index, field, pa.concat_arrays(pieces)))

    return change


def metadata(data: bytes) -> bytes:
    table = _table(data)
    changed = {**table.schema.metadata, b"latent_shape": b"[8, 4, 8]"}
    return _written(table.replace_schema_metadata(changed))


def float32(data: bytes) -> bytes:
    table = _table(data)
    index = table.schema.get_field_index("golden_noise")
    values = table.column(index).cast(pa.list_(pa.float32(), 256))
    return _written(
        table.set_column(index, table.schema.field(index).with_type(values.type), values)
    )


def dictionary(data: bytes) -> bytes:
    table = _table(data)
    return _written(table.set_column(1, "prompt", table["prompt"].dictionary_encode()))


def one_more_column(data: bytes) -> bytes:
    table = _table(data)
    return _written(table.append_column("other", pa.array(range(len(table)))))


def score_nan(data: bytes) -> bytes:
    table = _table(data)
    index = table.schema.get_field_index("golden_rewards")
    column = table.column(index).combine_chunks()
    fields = [*column.type]
    arrays = [pa.array(np.full(len(column), np.nan, np.float32)), column.field(1)]
    made = pa.StructArray.from_arrays(arrays, fields=fields)
    return _written(table.set_column(index, table.schema.field(index), made))


def another_order(data: bytes) -> bytes:
    table = _table(data)
    return _written(table.take(list(reversed(range(len(table))))))


def other_batches(data: bytes) -> bytes:
    """Batches of another size are valid."""
    return _written(_table(data), rows=1)


REFUSED: tuple[Variant, ...] = (
    swapped,
    repeated,
    left_out,
    behind_the_stream,
    empty_buffer_elsewhere,
    gap_before_the_footer,
    bytes_behind,
    compressed,
    one_null("source_noise"),
    one_null("golden_noise"),
    one_null("golden_image"),
    one_null("seed"),
    metadata,
    float32,
    dictionary,
    one_more_column,
    score_nan,
    another_order,
)
ACCEPTED: tuple[Variant, ...] = (other_batches,)
