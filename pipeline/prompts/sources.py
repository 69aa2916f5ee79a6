"""Reading of prompt sources: files, patterns, saved folders and data sets on the hub."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from glob import has_magic
from itertools import islice
from pathlib import Path

from pipeline.config.prompts import PromptFormat, PromptSourceConfig
from pipeline.core.errors import PromptFileError
from pipeline.core.identity import normalise_prompt
from pipeline.core.untrusted_files import check_file
from pipeline.prompts.columnar import read_arrow, read_parquet, saved_files
from pipeline.prompts.csv_table import read_csv, read_tsv
from pipeline.prompts.hub import read_hub
from pipeline.prompts.jsonl import read_jsonl
from pipeline.prompts.limits import RowCount
from pipeline.prompts.prompt import SourcePrompt, is_visible
from pipeline.prompts.text_file import Codec, codec_of, utf8_lines
from pipeline.prompts.webdataset import read_webdataset

_READERS: Mapping[PromptFormat, Callable[[Path, PromptSourceConfig], Iterator[str | None]]] = {
    "text": lambda path, source: utf8_lines(path),
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

# Formats that do not accept every codec. The readers of the other formats decompress.
_DECOMPRESSED: Mapping[PromptFormat, Sequence[Codec]] = {
    "parquet": (),
    "arrow": (),
    "webdataset": ("gzip",),
}


def read_source(source: PromptSourceConfig) -> list[SourcePrompt]:
    """Return the rows of a source in order, with normalised texts. Blank rows are included.

    Raise ``PromptFileError`` if a file cannot be read, if every row is blank, or if the rows take
    far more memory than the file (``limits``).
    """
    rows = [
        SourcePrompt("" if text is None else normalise_prompt(text), source.name, row)
        for row, text in enumerate(_counted(source, islice(_texts(source), _limit(source))))
    ]
    if not any(is_visible(row.text) for row in rows):
        raise PromptFileError(f"{source.place}: contains no prompts")
    return rows


def source_files(path: str, split: str | None) -> list[Path]:
    """Return the file itself, the sorted files of a pattern, or the files of a saved folder.

    A path that exists is never a pattern, so the configuration may be in a folder named ``[x]``.
    Raise ``PromptFileError`` if there is no such file.
    """
    try:
        return _files(Path(path), split)
    except OSError as error:  # a name that is too long, or a folder without read permission
        raise PromptFileError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:  # a NUL character in the name
        if isinstance(error, PromptFileError):
            raise
        raise PromptFileError(f"{path}: cannot be read: {error}") from None


def format_by_suffix(path: Path) -> PromptFormat | None:
    """Return the format for the suffix of a file, compressed or not, or None if it is unknown."""
    return _SUFFIXES.get(_inner_suffix(path))


def _limit(source: PromptSourceConfig) -> int | None:
    # islice rejects larger numbers.
    return None if source.limit is None else min(source.limit, sys.maxsize)


def _counted(source: PromptSourceConfig, texts: Iterable[str | None]) -> Iterator[str | None]:
    count = RowCount(source.place)
    for text in texts:
        count.add(text)
        yield text


def _texts(source: PromptSourceConfig) -> Iterator[str | None]:
    if source.path is None:
        yield from read_hub(source)
        return
    for path in source_files(source.path, source.split):
        yield from _READERS[_format_of(path, source)](path, source)


def _files(path: Path, split: str | None) -> list[Path]:
    if path.is_dir():
        return saved_files(path, split)
    if path.exists():
        if split is not None:
            raise PromptFileError(f"{path}: a file has no splits; remove split")
        return [path]
    folder = next((parent for parent in path.parents if parent.is_dir()), None)
    pattern = str(path if folder is None else path.relative_to(folder))
    if folder is None or not has_magic(pattern):
        braces = "; braces are not a pattern: use *, ? and [0-9]" if "{" in pattern else ""
        raise PromptFileError(f"{path}: no such prompt file{braces}")
    found = sorted(file for file in folder.glob(pattern) if not file.is_dir())
    if not found:
        raise PromptFileError(f"{path}: no file matches this pattern")
    if split is not None:
        raise PromptFileError(f"{path}: files have no splits; remove split")
    if other := [file for file in found if not file.is_file()]:
        raise PromptFileError(f"{other[0]}: a broken link, or not a regular file")
    for file in found:
        check_file(file, PromptFileError, folder)
    return found


def _inner_suffix(path: Path) -> str:
    """Return the suffix in lower case, without that of a codec."""
    return (path if codec_of(path) is None else path.with_suffix("")).suffix.lower()


def _format_of(path: Path, source: PromptSourceConfig) -> PromptFormat:
    name = source.format or format_by_suffix(path)
    if name is None:
        formats = ", ".join(map(repr, _READERS))
        raise PromptFileError(
            f"{path}: the suffix {_inner_suffix(path)!r} is not that of a known format; set format "
            f"to one of {formats}"
        )
    codec = codec_of(path)
    if codec is not None and codec not in _DECOMPRESSED.get(name, ("gzip", "zstd")):
        raise PromptFileError(f"{path}: decompress it first; {name} with {codec} is not supported")
    return name
