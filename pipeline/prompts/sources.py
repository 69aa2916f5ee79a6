"""From sources to prompts: normalised, each with the place where it was read."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from pipeline.config.prompts import PromptFormat, PromptSourceConfig
from pipeline.errors import PromptFileError
from pipeline.identity import normalise_prompt
from pipeline.prompts.files import source_files
from pipeline.prompts.formats.arrow import read_arrow
from pipeline.prompts.formats.compression import Codec, codec_of
from pipeline.prompts.formats.csv_table import read_csv, read_tsv
from pipeline.prompts.formats.hub import read_hub
from pipeline.prompts.formats.jsonl import read_jsonl
from pipeline.prompts.formats.parquet import read_parquet
from pipeline.prompts.formats.text import read_text
from pipeline.prompts.formats.webdataset import read_webdataset
from pipeline.prompts.prompt import SourcePrompt
from pipeline.prompts.visible import is_visible

_READERS: Mapping[PromptFormat, Callable[[Path, PromptSourceConfig], Iterator[str | None]]] = {
    "text": read_text,
    "jsonl": read_jsonl,
    "csv": read_csv,
    "tsv": read_tsv,
    "parquet": read_parquet,
    "arrow": read_arrow,
    "webdataset": read_webdataset,
}

_SUFFIXES: Mapping[str, PromptFormat] = {
    ".txt": "text",
    ".text": "text",
    ".jsonl": "jsonl",
    ".json": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".tar": "webdataset",
    ".tgz": "webdataset",
}

# Formats that do not take any codec; the readers of the others decompress.
_DECOMPRESSED: Mapping[PromptFormat, Sequence[Codec]] = {
    "parquet": (),
    "arrow": (),
    "webdataset": ("gzip",),
}


def read_source(source: PromptSourceConfig) -> list[SourcePrompt]:
    """Return the rows of a source in their order, blank ones too.

    Raises ``PromptFileError`` for what cannot be read, and where every row is blank.
    """
    rows = [
        SourcePrompt("" if text is None else normalise_prompt(text), source.name, row)
        for row, text in enumerate(islice(_texts(source), _limit(source)))
    ]
    if not any(is_visible(row.text) for row in rows):
        raise PromptFileError(f"{source.place}: holds no prompt")
    return rows


def _limit(source: PromptSourceConfig) -> int | None:
    return None if source.limit is None else min(source.limit, sys.maxsize)


def _texts(source: PromptSourceConfig) -> Iterator[str | None]:
    if source.path is None:
        yield from read_hub(source)
        return
    for path in source_files(source.path, source.split):
        yield from _READERS[_format_of(path, source)](path, source)


def format_by_suffix(path: Path) -> PromptFormat | None:
    """Return the format that a file's name tells, compressed or not; None if it tells none."""
    return _SUFFIXES.get(_inner_suffix(path))


def _inner_suffix(path: Path) -> str:
    """Return the suffix in small letters, before that of a codec."""
    return (path if codec_of(path) is None else path.with_suffix("")).suffix.lower()


def _format_of(path: Path, source: PromptSourceConfig) -> PromptFormat:
    name = source.format or format_by_suffix(path)
    if name is None:
        formats = ", ".join(map(repr, _READERS))
        raise PromptFileError(
            f"{path}: the suffix {_inner_suffix(path)!r} does not tell the format; set format to "
            f"one of {formats}"
        )
    codec = codec_of(path)
    if codec is not None and codec not in _DECOMPRESSED.get(name, ("gzip", "zstd")):
        raise PromptFileError(f"{path}: decompress it first; {name} with {codec} is not read")
    return name
