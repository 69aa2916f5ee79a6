"""Prompts in a column of Parquet files, Arrow files, and folders that ``datasets`` has saved.

They are read with pyarrow, so local files need neither ``datasets`` nor a network.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config.prompts import PromptSourceConfig
from pipeline.core.errors import PromptFileError

ROWS_AT_ONCE = 4096

_DICT, _STATE = "dataset_dict.json", "state.json"

# The end mark of a stream. Before Arrow 0.15 messages began without the first half.
_CONTINUATION, _NO_MORE = b"\xff" * 4, b"\0" * 4


def read_parquet(path: Path, source: PromptSourceConfig) -> Iterator[str | None]:
    """Yield the prompt of each row, or None if it is null. Raise ``PromptFileError``."""
    try:
        with pq.ParquetFile(path) as file:
            check_column(file.schema_arrow, source.column, str(path))
            for batch in file.iter_batches(ROWS_AT_ONCE, columns=[source.column]):
                yield from texts_of(batch, source.column, str(path))
    except (pa.ArrowException, OSError) as error:
        raise PromptFileError(f"{path}: not Parquet, or truncated or damaged: {error}") from error


def read_arrow(path: Path, source: PromptSourceConfig) -> Iterator[str | None]:
    """Yield the prompt of each row, or None if it is null. Raise ``PromptFileError``."""
    try:
        with pa.memory_map(str(path)) as file:
            for batch in _batches(file, source.column, str(path)):
                yield from texts_of(batch, source.column, str(path))
    except (pa.ArrowException, OSError) as error:
        raise PromptFileError(f"{path}: not Arrow, or truncated or damaged: {error}") from error


def saved_files(folder: Path, split: str | None) -> list[Path]:
    """Return the Arrow files of a folder written by ``save_to_disk``, in order.

    Raise ``PromptFileError`` for any other folder, or if ``split`` does not select one split.
    """
    if (folder / _DICT).is_file():
        return saved_files(folder / _split(folder, split), None)
    if not (folder / _STATE).is_file():
        raise PromptFileError(
            f"{folder}: a folder that was not written by save_to_disk (it has no {_STATE}); give "
            f"its files as a pattern, such as {folder}/*.parquet"
        )
    if split is not None:
        raise PromptFileError(f"{folder}: has only one split; remove split")
    state = _read_json(folder / _STATE)
    # Early versions of datasets stored the row numbers of a selection in a separate file.
    if state.get("_indices_data_files"):
        raise PromptFileError(
            f"{folder / _STATE}: its rows are selected by indices in another file; load it with "
            "datasets and save it again"
        )
    files = state.get("_data_files")
    if not isinstance(files, list) or not all(_names_a_file(data) for data in files):
        raise PromptFileError(f"{folder / _STATE}: lists no files under _data_files")
    return [folder / data["filename"] for data in files]


def check_column(schema: pa.Schema, column: str, where: str) -> None:
    """Raise ``PromptFileError`` if a column is missing, repeated or not text.

    A column of type null counts as text without values. The error begins with ``where`` and lists
    the text columns.
    """
    texts = [field.name for field in schema if _is_text(field.type)]
    choice = f"has text in {', '.join(map(repr, texts))}" if texts else "no column contains text"
    if column not in schema.names:
        columns = ", ".join(map(repr, schema.names))
        raise PromptFileError(
            f"{where}: no column {column!r} among {columns}; {choice}; set column"
        )
    check_unique(schema.names, column, where)
    kind = schema.field(column).type
    if not (_is_text(kind) or pa.types.is_null(kind)):
        raise PromptFileError(f"{where}: column {column!r} contains {kind}, not text; {choice}")


def check_unique(names: Sequence[str], column: str, where: str) -> None:
    """Raise ``PromptFileError`` if several columns have the name ``column``."""
    count = names.count(column)
    if count > 1:
        raise PromptFileError(
            f"{where}: {count} columns have the name {column!r}; rename all but one"
        )


def texts_of(batch: pa.RecordBatch, column: str, where: str) -> Iterator[str | None]:
    """Yield the values of a column that ``check_column`` accepts, or None where they are null."""
    values = batch.column(column)
    try:
        values.validate(full=True)  # offsets in a damaged file can point outside its memory
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


def _batches(file: pa.NativeFile, column: str, where: str) -> Iterator[pa.RecordBatch]:
    """Yield the batches of an Arrow file, or of a stream, which ``datasets`` writes."""
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
    """Check that a stream was read to its end mark, and that nothing follows it."""
    # pyarrow treats the end of a file as the end of the stream, also if the file is truncated.
    end = file.tell()
    if end < file.size():
        raise PromptFileError(
            f"{where}: data follows the end of the stream; if these are several streams in one "
            "file, split them and use a pattern"
        )
    file.seek(0)
    mark = _CONTINUATION + _NO_MORE if file.read(4) == _CONTINUATION else _NO_MORE
    file.seek(end - len(mark))
    if file.read(len(mark)) != mark:
        raise pa.ArrowInvalid("the end mark of the stream is missing")


def _names_a_file(data: object) -> bool:
    return isinstance(data, dict) and isinstance(data.get("filename"), str)


def _split(folder: Path, split: str | None) -> str:
    splits: object = _read_json(folder / _DICT).get("splits")
    if not isinstance(splits, list) or not all(isinstance(name, str) for name in splits):
        raise PromptFileError(f"{folder / _DICT}: lists no splits under splits")
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
