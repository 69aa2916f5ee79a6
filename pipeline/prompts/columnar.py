"""A text column of Arrow's record batches, from whatever they were read.

Arrow files and streams, and the folders of them that ``datasets`` writes.

Read with pyarrow alone: what lies on this machine needs neither ``datasets`` nor a network.


Parquet: the prompt is in one of the columns; the others are not read."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config.prompts import PromptSourceConfig
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


_DICT, _STATE = "dataset_dict.json", "state.json"

# What ends a stream; before Arrow 0.15 a message began without the first half.
_CONTINUATION, _NO_MORE = b"\xff" * 4, b"\0" * 4


def read_arrow(path: Path, source: PromptSourceConfig) -> Iterator[str | None]:
    """Yield the prompt of each row; None where it is null. Raises ``PromptFileError``."""
    try:
        with pa.memory_map(str(path)) as file:
            for batch in _batches(file, source.column, str(path)):
                yield from texts_of(batch, source.column, str(path))
    except (pa.ArrowException, OSError) as error:
        raise PromptFileError(f"{path}: not Arrow, cut off or damaged: {error}") from error


def saved_files(folder: Path, split: str | None) -> list[Path]:
    """The Arrow files of a folder that ``save_to_disk`` wrote, in their order.

    Raises ``PromptFileError`` for another folder, and where the split is unclear.
    """
    if (folder / _DICT).is_file():
        return saved_files(folder / _split(folder, split), None)
    if not (folder / _STATE).is_file():
        raise PromptFileError(
            f"{folder}: a folder, and not one that save_to_disk wrote (no {_STATE} in it); name "
            f"its files by a pattern, as {folder}/*.parquet"
        )
    if split is not None:
        raise PromptFileError(f"{folder}: holds one split only; leave split out")
    state = _read_json(folder / _STATE)
    # Early versions of datasets kept the numbers of chosen rows in a file of their own.
    if state.get("_indices_data_files"):
        raise PromptFileError(
            f"{folder / _STATE}: its rows are chosen by indices in another file; load it with "
            "datasets and save it again"
        )
    files = state.get("_data_files")
    if not isinstance(files, list) or not all(_names_a_file(data) for data in files):
        raise PromptFileError(f"{folder / _STATE}: names no files under _data_files")
    return [folder / data["filename"] for data in files]


def _names_a_file(data: object) -> bool:
    return isinstance(data, dict) and isinstance(data.get("filename"), str)


def _split(folder: Path, split: str | None) -> str:
    splits: object = _read_json(folder / _DICT).get("splits")
    if not isinstance(splits, list) or not all(isinstance(name, str) for name in splits):
        raise PromptFileError(f"{folder / _DICT}: names no splits under splits")
    if split is None and len(splits) == 1:
        return str(splits[0])
    if split is None or split not in splits:
        wrong = "set split" if split is None else f"no split {split!r}"
        raise PromptFileError(f"{folder}: {wrong}; has {', '.join(map(repr, splits))}")
    return split


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise PromptFileError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise PromptFileError(f"{path}: a JSON object was expected")
    return content


def _batches(file: pa.NativeFile, column: str, where: str) -> Iterator[pa.RecordBatch]:
    """Yield the batches of a file with a footer, or of a stream, as ``datasets`` writes it."""
    try:
        reader = pa.ipc.open_file(file)
    except pa.ArrowInvalid:
        file.seek(0)
        stream = pa.ipc.open_stream(file)
        check_column(stream.schema, column, where)
        yield from stream
        _check_end(file, where)
        return
    check_column(reader.schema, column, where)
    for index in range(reader.num_record_batches):
        yield reader.get_batch(index)


def _check_end(file: pa.NativeFile, where: str) -> None:
    """Check that a stream was read to its mark of the end, and that nothing follows it.

    pyarrow takes the end of a file for the end of the stream, also where it was cut off.
    """
    end = file.tell()
    if end < file.size():
        raise PromptFileError(
            f"{where}: more follows the end of its stream; are these several in one file? Name "
            "them by a pattern"
        )
    file.seek(0)
    mark = _CONTINUATION + _NO_MORE if file.read(4) == _CONTINUATION else _NO_MORE
    file.seek(end - len(mark))
    if file.read(len(mark)) != mark:
        raise pa.ArrowInvalid("the mark of the stream's end is missing")


def read_parquet(path: Path, source: PromptSourceConfig) -> Iterator[str | None]:
    """A row a row; null is no prompt. Raises ``PromptFileError``."""
    try:
        with pq.ParquetFile(path) as file:
            check_column(file.schema_arrow, source.column, str(path))
            for batch in file.iter_batches(ROWS_AT_ONCE, columns=[source.column]):
                yield from texts_of(batch, source.column, str(path))
    except (pa.ArrowException, OSError) as error:
        raise PromptFileError(f"{path}: not Parquet, cut off or damaged: {error}") from error
