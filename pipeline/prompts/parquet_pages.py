"""Headers of the pages of a Parquet column, which state how much memory a page takes.

The metadata at the end of a file state sizes too, but the reader allocates by these headers. A page
of 100 KB can expand to 2 GiB. Headers are structs in Thrift's compact protocol
(https://github.com/apache/parquet-format, ``PageHeader``).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from mmap import mmap

from pipeline.core.errors import PromptFileError
from pipeline.prompts.limits import Expansion

Fields = Mapping[int, "int | Fields"]
"""Maps the numbers of a struct's fields to integers and structs. Other fields are skipped."""

_EXPANDED, _STORED, _DICTIONARY = 2, 3, 7
"""Numbers of the fields with the sizes of a page, and with the header of a dictionary page."""

_NUM_VALUES = 1
_LEAST_BYTES = 4
"""Bytes of the shortest text in a dictionary page: its length."""

_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 12
_INTEGERS = (4, 5, 6)
_DEEPEST = 8


def check_pages(data: mmap, start: int, stop: int, expansion: Expansion) -> None:
    """Count the sizes of the pages in ``data[start:stop]``, the bytes of a column in a row group.

    Raise ``PromptFileError`` if they expand too much or are damaged.
    """
    if not 0 <= start <= stop <= len(data):
        raise PromptFileError(f"{expansion.where}: damaged: a column lies outside of the file")
    reader = _Struct(data, start)
    while reader.position < stop:
        try:
            header = reader.read()
            expanded, stored = header[_EXPANDED], header[_STORED]
            inner = header.get(_DICTIONARY, {})
            values = inner.get(_NUM_VALUES, 0) if isinstance(inner, Mapping) else -1
        except (IndexError, KeyError, RecursionError, ValueError) as error:
            raise PromptFileError(
                f"{expansion.where}: damaged: the header of a page cannot be read: {error!r}"
            ) from None
        if not (isinstance(expanded, int) and isinstance(stored, int) and isinstance(values, int)):
            raise PromptFileError(f"{expansion.where}: damaged: a page without sizes")
        if min(expanded, stored, values) < 0 or values * _LEAST_BYTES > expanded:
            raise PromptFileError(
                f"{expansion.where}: damaged: a page of {stored:,} bytes claims {expanded:,} bytes "
                f"and {values:,} values"
            )
        expansion.spend(expanded)
        reader.position += stored


@dataclass
class _Struct:
    """Reader of structs, one after another."""

    data: mmap
    position: int

    def read(self, depth: int = 0) -> Fields:
        """Return the fields of the struct at the position, and move behind it."""
        if depth > _DEEPEST:
            raise ValueError("structs are nested too deeply")
        fields: dict[int, int | Fields] = {}
        number = 0
        while head := self._byte():
            delta, kind = head >> 4, head & 15
            number = number + delta if delta else self._zigzag()
            value = self._value(kind, depth)
            if value is not None:
                fields[number] = value
        return fields

    def _value(self, kind: int, depth: int) -> int | Fields | None:
        if kind in _INTEGERS:
            return self._zigzag()
        if kind == _STRUCT:
            return self.read(depth + 1)
        if kind == _BINARY:
            length = self._varint()
            self.position += length
        elif kind in (_LIST, _SET):
            self._skip_items(depth)
        elif kind in (_BYTE, _DOUBLE):
            self.position += 1 if kind == _BYTE else 8
        elif kind not in (_TRUE, _FALSE):
            raise ValueError(f"unknown type {kind}")
        return None

    def _skip_items(self, depth: int) -> None:
        head = self._byte()
        count, kind = head >> 4, head & 15
        for _ in range(self._varint() if count == 15 else count):
            # A flag takes no byte as a field, and one as an item.
            self._value(_BYTE if kind in (_TRUE, _FALSE) else kind, depth + 1)
            if self.position > len(self.data):
                raise IndexError(self.position)

    def _byte(self) -> int:
        byte = self.data[self.position]
        self.position += 1
        return byte

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
            if shift > 63:
                raise ValueError("a number of more than 64 bits")

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
