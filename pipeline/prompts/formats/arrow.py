"""Arrow files and streams, and the folders of them that ``datasets`` writes.

Read with pyarrow alone: what lies on this machine needs neither ``datasets`` nor a network.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.config.prompts import PromptSourceConfig
from pipeline.errors import PromptFileError
from pipeline.prompts.formats.columns import check_column, texts_of

_DICT, _STATE = "dataset_dict.json", "state.json"


def read_arrow(path: Path, source: PromptSourceConfig) -> Iterator[str | None]:
    """A row a row; null is no prompt. Raises ``PromptFileError``."""
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
    return [folder / data["filename"] for data in _read_json(folder / _STATE)["_data_files"]]


def _split(folder: Path, split: str | None) -> str:
    splits: list[str] = _read_json(folder / _DICT)["splits"]
    if split is None and len(splits) == 1:
        return splits[0]
    if split not in splits:
        wrong = "set split" if split is None else f"no split {split!r}"
        raise PromptFileError(f"{folder}: {wrong}; has {', '.join(map(repr, splits))}")
    return split


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise PromptFileError(f"{path}: cannot be read as JSON: {error}") from error
    return content


def _batches(file: pa.NativeFile, column: str, where: str) -> Iterator[pa.RecordBatch]:
    """Of a file, which has a footer, or of a stream, as ``datasets`` writes it."""
    try:
        reader = pa.ipc.open_file(file)
    except pa.ArrowInvalid:
        file.seek(0)
        stream = pa.ipc.open_stream(file)
        check_column(stream.schema, column, where)
        yield from stream
        return
    check_column(reader.schema, column, where)
    for index in range(reader.num_record_batches):
        yield reader.get_batch(index)
