"""From sources to prompts: normalised, each with the place where it was read."""

from collections.abc import Callable, Iterator, Mapping
from glob import has_magic
from itertools import islice
from pathlib import Path

from pipeline.config.prompts import PromptFormat, PromptSourceConfig
from pipeline.errors import PromptFileError
from pipeline.identity import normalise_prompt
from pipeline.prompts.formats.arrow import read_arrow, saved_files
from pipeline.prompts.formats.csv_table import read_csv, read_tsv
from pipeline.prompts.formats.hub import read_hub
from pipeline.prompts.formats.jsonl import read_jsonl
from pipeline.prompts.formats.parquet import read_parquet
from pipeline.prompts.formats.text import read_text
from pipeline.prompts.formats.webdataset import read_webdataset
from pipeline.prompts.prompt import SourcePrompt

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
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".tar": "webdataset",
    ".tgz": "webdataset",
}


def read_source(source: PromptSourceConfig) -> list[SourcePrompt]:
    """The rows of a source in their order, those that are blank too.

    Raises ``PromptFileError`` for what cannot be read, and where every row is blank.
    """
    rows = [
        SourcePrompt("" if text is None else normalise_prompt(text), source.name, row)
        for row, text in enumerate(islice(_texts(source), source.limit))
    ]
    if not any(row.text for row in rows):
        raise PromptFileError(f"{source.place}: holds no prompt")
    return rows


def _texts(source: PromptSourceConfig) -> Iterator[str | None]:
    if source.path is None:
        yield from read_hub(source)
        return
    for path in _files(source, source.path):
        yield from _READERS[_format_of(path, source)](path, source)


def _files(source: PromptSourceConfig, pattern: str) -> list[Path]:
    """The files that a path stands for: itself, those of a pattern, sorted, or of a folder."""
    path = Path(pattern)
    if path.is_dir():
        return saved_files(path, source.split)
    if path.exists():
        return [path]
    if not has_magic(pattern):
        raise PromptFileError(f"{path}: no such prompt file")
    root = Path(path.anchor or ".")
    found = sorted(file for file in root.glob(str(path.relative_to(path.anchor))) if file.is_file())
    if not found:
        raise PromptFileError(f"{pattern}: no file is so named")
    return found


def _format_of(path: Path, source: PromptSourceConfig) -> PromptFormat:
    if source.format is not None:
        return source.format
    suffix = ".tgz" if path.name.lower().endswith(".tar.gz") else path.suffix.lower()
    if suffix not in _SUFFIXES:
        formats = ", ".join(map(repr, _READERS))
        raise PromptFileError(
            f"{path}: the suffix {path.suffix!r} does not tell the format; set format to one of "
            f"{formats}"
        )
    return _SUFFIXES[suffix]
