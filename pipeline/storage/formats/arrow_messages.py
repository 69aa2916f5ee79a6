"""Messages of an Arrow file: a schema followed by record batches.

An Arrow file lists its batches twice: in a stream, which starts after the magic bytes, and in a
footer. This project reads the stream, because its headers can be checked before they are used.
``check_footer`` verifies that readers of the footer find the same batches.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from pipeline.storage.formats.checked_bytes import CheckedBytes

_MAGIC = b"ARROW1"
_STREAM_START = 8
"""Offset of the first message, after the padded magic bytes."""
_PREFIX = struct.Struct("<Ii")
"""Prefix of each message: a mark and the length of the message without its body."""
_MARK = 0xFFFFFFFF
_BLOCK = struct.Struct("<qi4xq")
"""Entry of the footer: start of a message, its length with the prefix, length of its body."""
_DICTIONARIES, _BATCHES = 2, 3
"""Field numbers in the footer's table."""


@dataclass(frozen=True, kw_only=True)
class MessageBlock:
    """A message and its place in the file."""

    message: pa.Message
    start: int
    header_bytes: int
    """Length of the header including the prefix."""
    body_bytes: int

    @property
    def stop(self) -> int:
        """Byte offset of the next message."""
        return self.start + self.header_bytes + self.body_bytes


def read_blocks(content: CheckedBytes) -> list[MessageBlock]:
    """Read the schema and all record batches. Everything except their bodies is checked.

    Raises ``ValueError`` or a pyarrow error if this project does not write such a stream.
    """
    content.check(0, _STREAM_START)
    if content.mapped[:_STREAM_START] != _MAGIC.ljust(_STREAM_START, b"\0"):
        raise ValueError("it is no Arrow file")
    blocks = list(_blocks(content))
    kinds = [block.message.type for block in blocks]
    if not kinds or kinds != ["schema", *["record batch"] * (len(kinds) - 1)]:
        raise ValueError(f"a schema and record batches are expected, not {', '.join(kinds)}")
    return blocks


def check_footer(content: CheckedBytes, blocks: list[MessageBlock]) -> None:
    """Raise ``ValueError`` unless the footer has exactly these blocks and ends the file.

    Also raises pyarrow's errors. The batches are read by both pyarrow readers and compared, because
    the two readers can decode the same header to different values.
    """
    # The stream ends with an empty message, which is a prefix alone. The footer follows it.
    start = blocks[-1].stop + _PREFIX.size
    data = bytes(content.mapped[start:])
    footer = data[: -4 - len(_MAGIC)]
    if data[len(footer) :] != struct.pack("<i", len(footer)) + _MAGIC:
        raise ValueError("its footer does not stand between the last record batch and the end")
    named = _vector(footer, _BATCHES)
    wanted = [(block.start, block.header_bytes, block.body_bytes) for block in blocks[1:]]
    if named != wanted or _vector(footer, _DICTIONARIES):
        raise ValueError("its footer and its stream name different record batches")
    schema = pa.ipc.read_schema(blocks[0].message)
    file = pa.ipc.open_file(content.buffer)
    if not file.schema.equals(schema, check_metadata=True):
        raise ValueError("its footer and its stream have different schemas")
    # The positions are equal now, but pyarrow's two readers can decode one header differently.
    for index, block in enumerate(blocks[1:]):
        of_footer = file.get_batch(index)
        of_footer.validate(full=True)
        of_stream = pa.ipc.read_record_batch(block.message, schema)
        if not of_footer.serialize().equals(of_stream.serialize()):
            raise ValueError(f"record batch {index} is another one by its footer")


def _blocks(content: CheckedBytes) -> Iterator[MessageBlock]:
    start = _STREAM_START
    while True:
        _check_inside(content, start + _PREFIX.size)
        content.check(start, start + _PREFIX.size)
        mark, num_bytes = _PREFIX.unpack_from(content.mapped, start)
        if mark != _MARK or num_bytes < 0:
            raise ValueError(f"no message starts at byte {start:,}")
        if not num_bytes:
            return
        header_bytes = _PREFIX.size + num_bytes
        _check_inside(content, start + header_bytes)
        content.check(start, start + header_bytes)
        # The prefix and the header are checked now. Reading the message does not read its body.
        message = pa.ipc.read_message(content.buffer.slice(start))
        block = MessageBlock(
            message=message,
            start=start,
            header_bytes=header_bytes,
            body_bytes=message.body.size if message.body else 0,
        )
        yield block
        start = block.stop


def _check_inside(content: CheckedBytes, stop: int) -> None:
    if stop > content.num_bytes:
        raise ValueError(f"a message ends at byte {stop:,} of {content.num_bytes:,}")


def _vector(footer: bytes, field: int) -> list[tuple[int, int, int]]:
    """Read a vector of blocks from the footer, which is a flatbuffer. Empty where it is absent."""
    try:
        (table,) = struct.unpack_from("<I", footer)
        (back,) = struct.unpack_from("<i", footer, table)
        (vtable_bytes,) = struct.unpack_from("<H", footer, table - back)
        # A field at the end of a flatbuffer's table that has its default value is left out.
        if 4 + 2 * field >= vtable_bytes:
            return []
        (at,) = struct.unpack_from("<H", footer, table - back + 4 + 2 * field)
        if not at:
            return []
        (offset,) = struct.unpack_from("<I", footer, table + at)
        first = table + at + offset
        (count,) = struct.unpack_from("<I", footer, first)
        stop = first + 4 + count * _BLOCK.size
        if stop > len(footer):
            raise ValueError("its footer is cut off")
        return [*_BLOCK.iter_unpack(footer[first + 4 : stop])]
    except struct.error as error:
        raise ValueError(f"its footer cannot be read: {error}") from None
