"""Columns of a Parquet file that is not trusted: its sizes are checked before memory is taken."""

import io
from collections.abc import Iterator
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.storage.formats.parquet_pages import page_sizes

_MAX_RATIO = 100
"""Most bytes of decompressed pages, and of texts, for each byte of the file; real files have 3."""
_VALUES_PER_BYTE = 16
"""Most values, of which most are missing, for each byte of the file; real files have 1."""
_SMALL_BYTES = 2**16
"""Size up to which a file counts as this large: a small one is mostly footer."""
_ROWS_PER_GROUP = 1000
"""Least rows of a row group on average. Writers of this project use 65,536 and more."""


class ParquetColumns:
    """Columns of an open Parquet file. Memory is bounded by the size of the file."""

    def __init__(self, source: bytes | BinaryIO, schema: pa.Schema, num_bytes: int) -> None:
        """Read the footer and the headers of all pages of a file of ``num_bytes``.

        Raises ``ValueError`` for other columns than ``schema`` and for a file that would take far
        more memory than its size, and pyarrow's errors.
        """
        file = io.BytesIO(source) if isinstance(source, bytes) else source
        # Texts are read as dictionaries: one that repeats takes no memory, until it is measured.
        self._file = pq.ParquetFile(file, read_dictionary=[*_text_paths(schema)])
        self._schema = schema
        self._num_bytes = max(num_bytes, _SMALL_BYTES)
        if not pq.ParquetFile(file, metadata=self._file.metadata).schema_arrow.equals(schema):
            raise ValueError("its columns are not those of the contract")
        metadata = self._file.metadata
        if metadata.num_row_groups > 64 + metadata.num_rows // _ROWS_PER_GROUP:
            raise ValueError(f"{metadata.num_row_groups:,} row groups of few rows")
        sizes = page_sizes(file, metadata)
        if (
            metadata.num_rows > num_bytes
            or sizes.values > _VALUES_PER_BYTE * self._num_bytes
            or sizes.num_bytes > _MAX_RATIO * self._num_bytes
        ):
            raise ValueError(
                f"{metadata.num_rows:,} rows of {sizes.values:,} values and {sizes.num_bytes:,} "
                f"bytes, in a file of {num_bytes:,} bytes"
            )

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return int(self._file.metadata.num_rows)

    def column(self, name: str) -> pa.ChunkedArray:
        """Return a column, validated.

        Raises ``ValueError`` if its texts take far more memory than the file, and pyarrow's errors.
        """
        chunks: list[pa.Array] = []
        num_bytes = 0
        # pyarrow does not read nested dictionaries of several row groups at once.
        for group in range(self._file.num_row_groups):
            column = self._file.read_row_group(group, columns=[name])[name]
            column.validate(full=True)
            num_bytes += sum(map(_text_bytes, column.chunks))
            if num_bytes > _MAX_RATIO * self._num_bytes:
                raise ValueError(f"{num_bytes:,} bytes of {name}, in a file of {self._num_bytes:,}")
            chunks += column.cast(self._schema.field(name).type).chunks
        return pa.chunked_array(chunks, self._schema.field(name).type)


def _text_paths(schema: pa.Schema) -> Iterator[str]:
    for field in schema:
        yield from _texts_in(field.name, field.type)


def _texts_in(path: str, kind: pa.DataType) -> Iterator[str]:
    """Yield the paths of the texts in a column, as Parquet names them."""
    if pa.types.is_string(kind):
        yield path
    elif pa.types.is_list(kind):
        yield from _texts_in(f"{path}.list.element", kind.value_type)
    elif pa.types.is_struct(kind):
        for field in kind:
            yield from _texts_in(f"{path}.{field.name}", field.type)


def _text_bytes(array: pa.Array) -> int:
    """Return the number of bytes of all texts of an array if each is stored separately."""
    if pa.types.is_dictionary(array.type):
        lengths = pc.binary_length(array.dictionary).cast(pa.int64())
        return pc.sum(lengths.take(array.indices)).as_py() or 0
    if pa.types.is_list(array.type):
        return _text_bytes(array.values)
    if pa.types.is_struct(array.type):
        return sum(_text_bytes(array.field(index)) for index in range(array.type.num_fields))
    return 0
