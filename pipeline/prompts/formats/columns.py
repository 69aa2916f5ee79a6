"""A text column of Arrow's record batches, from whatever they were read."""

from collections.abc import Iterator

import pyarrow as pa

from pipeline.errors import PromptFileError

ROWS_AT_ONCE = 4096


def check_column(schema: pa.Schema, column: str, where: str) -> None:
    """Refuse a schema in which a column is missing or holds no text.

    Raises ``PromptFileError``, which says ``where`` and names the columns that would do.
    """
    texts = [field.name for field in schema if _is_text(field.type)]
    choice = f"has text in {', '.join(map(repr, texts))}" if texts else "no column holds text"
    if column not in schema.names:
        columns = ", ".join(map(repr, schema.names))
        raise PromptFileError(
            f"{where}: no column {column!r} among {columns}; {choice}; set column"
        )
    if column not in texts:
        kind = schema.field(column).type
        raise PromptFileError(f"{where}: column {column!r} holds {kind}, not text; {choice}")


def texts_of(batch: pa.RecordBatch, column: str, where: str) -> Iterator[str | None]:
    """The values of a column that ``check_column`` let pass; None where they are null."""
    values = batch.column(column)
    try:
        yield from values.to_pylist()
    except UnicodeDecodeError as error:
        raise PromptFileError(f"{where}: column {column!r} is not UTF-8: {error}") from None


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )
