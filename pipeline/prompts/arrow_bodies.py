"""Bodies of Arrow messages, whose buffers may be compressed, and how far they expand."""

import struct

import pyarrow as pa

from pipeline.core.errors import PromptFileError
from pipeline.prompts.limits import Expansion

_LENGTH = struct.Struct("<q")
"""First bytes of a compressed buffer: its length when it is decompressed, or -1 if it is not."""
_BUFFER = struct.Struct("<qq")
"""Entry of a record batch's table of buffers: offset in the body and length."""

_HEADER, _BUFFERS, _COMPRESSION = 2, 2, 3
"""Numbers of the fields in the tables of a message and of a record batch."""
_DICTIONARY_DATA = 1
"""Number of the field in a dictionary batch with its record batch."""


def check_stream(file: pa.NativeFile, expansion: Expansion) -> None:
    """Count the decompressed sizes of all messages of a stream, without decompressing them.

    Raise ``PromptFileError`` if they expand too much, and pyarrow's errors for a damaged stream.
    """
    for message in pa.ipc.MessageReader.open_stream(file):
        if message.type not in ("record batch", "dictionary"):
            continue
        try:
            sizes = _expanded_sizes(message)
        except (struct.error, IndexError) as error:
            raise PromptFileError(
                f"{expansion.where}: damaged: the header of a batch cannot be read: {error}"
            ) from None
        for size in sizes:
            expansion.spend(size)


def _expanded_sizes(message: pa.Message) -> list[int]:
    """Return the sizes of the buffers of a message after decompression."""
    table = _Table.root(bytes(message.metadata)).table(_HEADER)
    if table is not None and message.type == "dictionary":
        table = table.table(_DICTIONARY_DATA)
    if table is None or table.table(_COMPRESSION) is None:
        return []
    sizes = []
    for offset, length in table.buffers(_BUFFERS):
        if length:
            (size,) = _LENGTH.unpack_from(message.body, offset)
            sizes.append(length if size == -1 else size)
            if size < -1:
                raise IndexError(f"a buffer of {size} bytes")
    return sizes


class _Table:
    """A table of a flatbuffer (https://flatbuffers.dev/internals)."""

    def __init__(self, data: bytes, position: int) -> None:
        self._data, self._position = data, position

    @classmethod
    def root(cls, data: bytes) -> "_Table":
        """Return the root table."""
        return cls(data, struct.unpack_from("<I", data)[0])

    def table(self, field: int) -> "_Table | None":
        """Return the table in a field, or None if it is absent."""
        at = self._field(field)
        if at is None:
            return None
        return _Table(self._data, at + struct.unpack_from("<I", self._data, at)[0])

    def buffers(self, field: int) -> list[tuple[int, int]]:
        """Return the offsets and lengths in a field with a vector of buffers."""
        at = self._field(field)
        if at is None:
            return []
        vector = at + struct.unpack_from("<I", self._data, at)[0]
        (count,) = struct.unpack_from("<I", self._data, vector)
        stop = vector + 4 + count * _BUFFER.size
        if stop > len(self._data):
            raise IndexError(f"{count} buffers")
        return list(_BUFFER.iter_unpack(self._data[vector + 4 : stop]))

    def _field(self, field: int) -> int | None:
        (back,) = struct.unpack_from("<i", self._data, self._position)
        vtable = self._position - back
        (size,) = struct.unpack_from("<H", self._data, vtable)
        if 4 + 2 * field >= size:
            return None
        (offset,) = struct.unpack_from("<H", self._data, vtable + 4 + 2 * field)
        return self._position + offset if offset else None
