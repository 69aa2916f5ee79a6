"""Sizes of the pages of a Parquet file, read from their headers before anything is decoded.

A file of kilobytes can decode to gigabytes: one page can hold a billion repeated values, and its
size in the footer may be wrong. pyarrow takes the memory first. The headers are those that it
decodes, in the compact protocol of Apache Thrift.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import pyarrow.parquet as pq

_HEADER_BYTES = 2**16
"""Most bytes of a page header that are read. It holds a minimum and a maximum, cut at 4 kB."""

_MAX_PAGES = 4096
"""Most pages of a column in a row group. One page holds up to 20,000 rows or 1 MB."""

_STOP, _TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(
    13
)
_VARINTS = (_I16, _I32, _I64)

_DICTIONARY = 2
"""Type of a page with the distinct values of a column."""
_TYPE, _DECODED, _STORED, _HEADERS = 1, 2, 3, (5, 7, 8)
"""Fields of a page header: type, sizes in bytes, and the headers of data and dictionary pages."""

_Fields = dict[int, "int | _Fields"]


@dataclass(frozen=True, kw_only=True)
class PageSizes:
    """Sizes of a file after decoding, without the texts that repeat."""

    values: int
    """Values of all columns, including missing ones."""
    num_bytes: int
    """Bytes of all pages after decompression."""


def page_sizes(file: BinaryIO, metadata: pq.FileMetaData) -> PageSizes:
    """Read the headers of all pages. Raises ``ValueError`` if the footer has other numbers."""
    values = num_bytes = 0
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            found = 0
            for page in _pages(file, column):
                if not page.is_dictionary:
                    found += page.values
                num_bytes += page.num_bytes
            if found != column.num_values:
                raise ValueError(
                    f"{column.path_in_schema} has {found:,} values, and {column.num_values:,} by "
                    "its footer"
                )
            values += found
    return PageSizes(values=values, num_bytes=num_bytes)


@dataclass(frozen=True, kw_only=True)
class _Page:
    is_dictionary: bool
    values: int
    num_bytes: int


def _pages(file: BinaryIO, column: pq.ColumnChunkMetaData) -> Iterator[_Page]:
    """Yield the pages that pyarrow reads for a column in a row group."""
    start = column.data_page_offset
    if column.has_dictionary_page and 0 < column.dictionary_page_offset < start:
        start = column.dictionary_page_offset
    stop = start + column.total_compressed_size
    for _ in range(_MAX_PAGES):
        if start >= stop:
            return
        file.seek(max(start, 0))
        header = _Header(file.read(_HEADER_BYTES))
        fields = header.struct()
        inner = next((fields[number] for number in _HEADERS if number in fields), None)
        stored, decoded, kind = (fields.get(number) for number in (_STORED, _DECODED, _TYPE))
        values = inner.get(1) if isinstance(inner, dict) else None
        numbers = [each for each in (stored, decoded, kind, values) if isinstance(each, int)]
        if len(numbers) != 4 or min(numbers) < 0:
            raise ValueError(f"no page of {column.path_in_schema} starts at byte {start:,}")
        yield _Page(is_dictionary=kind == _DICTIONARY, values=numbers[3], num_bytes=numbers[1])
        start += header.position + numbers[0]
    raise ValueError(f"{column.path_in_schema} has more than {_MAX_PAGES:,} pages in a row group")


class _Header:
    """Parser of one structure in the compact protocol. Raises ``ValueError`` if it is cut off."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.position = 0

    def struct(self, depth: int = 0) -> _Fields:
        """Return the integers and structures of a structure by their field numbers."""
        if depth > 4:
            raise ValueError("a page header with too many levels")
        fields: _Fields = {}
        number = 0
        while first := self._byte():
            delta, kind = first >> 4, first & 15
            number = number + delta if delta else self._integer()
            value = self._value(kind, depth)
            if value is not None:
                fields[number] = value
        return fields

    def _value(self, kind: int, depth: int) -> "int | _Fields | None":
        if kind in _VARINTS:
            return self._integer()
        if kind == _STRUCT:
            return self.struct(depth + 1)
        if kind == _BINARY:
            self._skip(self._varint())
        elif kind in (_BYTE, _DOUBLE):
            self._skip(1 if kind == _BYTE else 8)
        elif kind not in (_TRUE, _FALSE):
            raise ValueError(f"a page header with a field of type {kind}")
        return None

    def _byte(self) -> int:
        self._skip(1)
        return self._data[self.position - 1]

    def _skip(self, count: int) -> None:
        self.position += count
        if self.position > len(self._data):
            raise ValueError("a page header is cut off")

    def _varint(self) -> int:
        value = shift = 0
        while shift < 70:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
        raise ValueError("a page header holds a number of more than 64 bits")

    def _integer(self) -> int:
        value = self._varint()  # zigzag: the last bit is the sign
        return (value >> 1) ^ -(value & 1)
