"""Prompts in a column of Parquet files, Arrow files, and folders that ``datasets`` has saved.

They are read with pyarrow, so local files need neither ``datasets`` nor a network.
"""

import math
from collections.abc import Iterator, Sequence
from mmap import ACCESS_READ, mmap
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.config.prompts import PromptSourceConfig
from pipeline.core.errors import PromptFileError
from pipeline.core.untrusted_files import check_file, read_json
from pipeline.prompts.arrow_bodies import check_stream
from pipeline.prompts.limits import Expansion, listed
from pipeline.prompts.parquet_pages import check_pages

ROWS_AT_ONCE = 4096

# Errors of pyarrow for data that no program writes.
_DAMAGED = (pa.ArrowException, OSError, OverflowError, ValueError)

_STREAM_START = 8
"""Byte at which the messages of an Arrow file start."""

_DICT, _STATE = "dataset_dict.json", "state.json"

# The end mark of a stream. Before Arrow 0.15 messages began without the first half.
_CONTINUATION, _NO_MORE = b"\xff" * 4, b"\0" * 4


def read_parquet(path: Path, source: PromptSourceConfig) -> Iterator[str | None]:
    """Yield the prompt of each row, or None if it is null. Raise ``PromptFileError``."""
    check_file(path, PromptFileError)
    try:
        expansion = Expansion.of(path)
        with pq.ParquetFile(path) as file:
            check_column(file.schema_arrow, source.column, str(path))
            _check_column_pages(path, file.metadata, source.column)
        # As dictionaries, in which a repeated text takes memory once.
        with pq.ParquetFile(path, read_dictionary=[source.column]) as file:
            for batch in file.iter_batches(ROWS_AT_ONCE, columns=[source.column]):
                yield from texts_of(batch, source.column, expansion)
    except _DAMAGED as error:
        if isinstance(error, PromptFileError):
            raise
        raise PromptFileError(f"{path}: not Parquet, or truncated or damaged: {error}") from error


def read_arrow(path: Path, source: PromptSourceConfig) -> Iterator[str | None]:
    """Yield the prompt of each row, or None if it is null. Raise ``PromptFileError``."""
    check_file(path, PromptFileError)
    try:
        expansion = Expansion.of(path)
        with pa.memory_map(str(path)) as file:
            for batch in _batches(file, source.column, str(path)):
                yield from texts_of(batch, source.column, expansion)
    except _DAMAGED as error:
        if isinstance(error, PromptFileError):
            raise
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
    state = read_json(folder / _STATE, PromptFileError)
    # Early versions of datasets stored the row numbers of a selection in a separate file.
    if state.get("_indices_data_files"):
        raise PromptFileError(
            f"{folder / _STATE}: its rows are selected by indices in another file; load it with "
            "datasets and save it again"
        )
    files = state.get("_data_files")
    if not isinstance(files, list) or not all(_names_a_file(data) for data in files):
        raise PromptFileError(f"{folder / _STATE}: lists no files under _data_files")
    paths = [folder / data["filename"] for data in files]
    for path in paths:
        if path.parent != folder:
            raise PromptFileError(f"{folder / _STATE}: {path} is not a file of this folder")
        check_file(path, PromptFileError, folder)
    return paths


def check_column(schema: pa.Schema, column: str, where: str) -> None:
    """Raise ``PromptFileError`` if a column is missing, repeated or not text.

    A column of type null counts as text without values. The error begins with ``where`` and lists
    the text columns.
    """
    texts = [field.name for field in schema if _is_text(field.type)]
    choice = f"has text in {listed(texts)}" if texts else "no column contains text"
    if column not in schema.names:
        raise PromptFileError(
            f"{where}: no column {column!r} among {listed(schema.names)}; {choice}; set column"
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


def texts_of(batch: pa.RecordBatch, column: str, expansion: Expansion) -> Iterator[str | None]:
    """Yield the values of a column that ``check_column`` accepts, or None where they are null.

    Raise ``PromptFileError`` for damaged values, and for repeated ones that expand too much.
    """
    values = batch.column(column)
    try:
        values.validate(full=True)  # offsets in a damaged file can point outside its memory
        expansion.spend(_num_bytes(values))
        if pa.types.is_dictionary(values.type):
            values = values.dictionary_decode()
        texts = values.to_pylist()
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise PromptFileError(
            f"{expansion.where}: column {column!r} is not UTF-8, or is damaged: {error}"
        ) from None
    yield from texts


def _num_bytes(values: pa.Array) -> int:
    """Return the number of bytes of the texts, with repeated ones counted each time."""
    if pa.types.is_null(values.type):
        return 0
    if pa.types.is_dictionary(values.type):
        lengths = _lengths(values.dictionary).take(values.indices)
    else:
        lengths = _lengths(values)
    return int(pc.sum(lengths.cast(pa.int64())).as_py() or 0)


def _lengths(texts: pa.Array) -> pa.Array:
    if not pa.types.is_string_view(texts.type):
        return pc.binary_length(texts)
    # A view has its length in the first four of its 16 bytes; pyarrow has no function for it.
    _, views, *_ = texts.buffers()
    numbers = np.frombuffer(views, np.int32).reshape(-1, 4)[:, 0]
    return pa.array(numbers[texts.offset : texts.offset + len(texts)])


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def _check_column_pages(path: Path, metadata: pq.FileMetaData, column: str) -> None:
    """Check the headers of all pages of a column, before the first one is decompressed."""
    expansion = Expansion.of(path)
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            for index in range(group.num_columns):
                part = group.column(index)
                if part.path_in_schema.partition(".")[0] == column:
                    # The offset of a dictionary is 0 or None without one.
                    start = min(part.dictionary_page_offset or math.inf, part.data_page_offset)
                    stop = int(start) + part.total_compressed_size
                    check_pages(data, int(start), stop, expansion)


def _batches(file: pa.NativeFile, column: str, where: str) -> Iterator[pa.RecordBatch]:
    """Yield the batches of an Arrow file, or of a stream, which ``datasets`` writes."""
    try:
        reader = pa.ipc.open_file(file)
    except pa.ArrowInvalid:
        yield from _stream(file, 0, column, where)
        _check_end(file, where)
        return
    # The messages of a file are also a stream, and only the messages of a stream are checked.
    count = 0
    for batch in _stream(file, _STREAM_START, column, where):
        yield batch
        count += 1
    if count != reader.num_record_batches:
        raise PromptFileError(
            f"{where}: damaged: it has {count} batches, and lists {reader.num_record_batches}"
        )


def _stream(file: pa.NativeFile, start: int, column: str, where: str) -> Iterator[pa.RecordBatch]:
    """Yield the batches of the stream that starts at a byte, after its sizes were checked."""
    file.seek(start)
    check_stream(file, Expansion.of(Path(where)))
    file.seek(start)
    schema = pa.ipc.read_schema(file)
    check_column(schema, column, where)
    file.seek(start)
    options = pa.ipc.IpcReadOptions(included_fields=[schema.get_field_index(column)])
    yield from pa.ipc.open_stream(file, options=options)


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
    splits: object = read_json(folder / _DICT, PromptFileError).get("splits")
    if not isinstance(splits, list) or not all(isinstance(name, str) for name in splits):
        raise PromptFileError(f"{folder / _DICT}: lists no splits under splits")
    if split is None and len(splits) == 1:
        return str(splits[0])
    if split is None or split not in splits:
        wrong = "set split" if split is None else f"no split {split!r}"
        raise PromptFileError(f"{folder}: {wrong}; has {listed(splits)}")
    return split
