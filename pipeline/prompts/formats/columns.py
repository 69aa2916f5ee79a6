"""A text column of Arrow's record batches, from whatever they were read."""

from collections.abc import Iterator, Sequence

import pyarrow as pa

from pipeline.errors import PromptFileError

ROWS_AT_ONCE = 4096


def check_column(schema: pa.Schema, column: str, where: str) -> None:
    """Refuse a schema in which a column is missing, repeated, or holds no text.

    A column of nulls alone is one of text without a value. Raises ``PromptFileError``, which says
    ``where`` and names the columns that would do.
    """
    texts = [field.name for field in schema if _is_text(field.type)]
    choice = f"has text in {', '.join(map(repr, texts))}" if texts else "no column holds text"
    if column not in schema.names:
        columns = ", ".join(map(repr, schema.names))
        raise PromptFileError(
            f"{where}: no column {column!r} among {columns}; {choice}; set column"
        )
    refuse_repeated(schema.names, column, where)
    kind = schema.field(column).type
    if not (_is_text(kind) or pa.types.is_null(kind)):
        raise PromptFileError(f"{where}: column {column!r} holds {kind}, not text; {choice}")


def refuse_repeated(names: Sequence[str], column: str, where: str) -> None:
    """Refuse columns of which several have the name. Raises ``PromptFileError``."""
    count = names.count(column)
    if count > 1:
        raise PromptFileError(
            f"{where}: {count} columns have the name {column!r}; rename all but one"
        )


def texts_of(batch: pa.RecordBatch, column: str, where: str) -> Iterator[str | None]:
    """The values of a column that ``check_column`` let pass; None where they are null."""
    values = batch.column(column)
    try:
        values.validate(full=True)  # offsets of a damaged file can point out of its memory
    except pa.ArrowInvalid as error:
        raise PromptFileError(
            f"{where}: column {column!r} is not UTF-8, or is damaged: {error}"
        ) from None
    yield from values.to_pylist()


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )
