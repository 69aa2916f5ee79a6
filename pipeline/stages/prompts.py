"""Prompts from a text, JSONL or CSV file: normalised, de-duplicated, counted."""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.errors import PromptFileError
from pipeline.identity import normalise_prompt

PromptFormat = Literal["text", "jsonl", "csv"]

_SUFFIXES: dict[str, PromptFormat] = {
    ".txt": "text",
    ".text": "text",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
}


@dataclass(frozen=True, kw_only=True)
class PromptList:
    """Distinct prompts in the order of the file."""

    prompts: tuple[str, ...]
    num_read: int
    """Prompts in the file, repeats among them."""
    num_duplicates: int
    """Prompts that read like an earlier one."""


def read_prompts(path: Path, file_format: PromptFormat | None, column: str) -> PromptList:
    """Read the prompts of a file; blank lines are skipped.

    Raises ``PromptFileError`` with file and line for anything that is not a prompt.
    """
    file_format = file_format or _format_of(path)
    text = _read_text(path)
    match file_format:
        case "text":
            raw = _text_prompts(text)
        case "jsonl":
            raw = _jsonl_prompts(path, text, column)
        case "csv":
            raw = _csv_prompts(path, text, column)
    normalised = [prompt for prompt in map(normalise_prompt, raw) if prompt]
    if not normalised:
        raise PromptFileError(f"{path}: holds no prompt")
    distinct = tuple(dict.fromkeys(normalised))
    return PromptList(
        prompts=distinct,
        num_read=len(normalised),
        num_duplicates=len(normalised) - len(distinct),
    )


def _format_of(path: Path) -> PromptFormat:
    try:
        return _SUFFIXES[path.suffix.lower()]
    except KeyError:
        raise PromptFileError(
            f"{path}: the suffix {path.suffix!r} does not tell the format; "
            "set prompts.format to 'text', 'jsonl' or 'csv'"
        ) from None


def _read_text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise PromptFileError(f"{path}: no such prompt file") from None
    except OSError as error:
        raise PromptFileError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        # utf-8-sig: spreadsheets put a byte order mark in front of CSV.
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise PromptFileError(
            f"{path}:{line}: not UTF-8 (byte {data[error.start]:#04x}); save the file as UTF-8"
        ) from None


def _text_prompts(text: str) -> Iterator[str]:
    yield from text.split("\n")


def _jsonl_prompts(path: Path, text: str, column: str) -> Iterator[str]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise PromptFileError(f"{path}:{number}: not JSON: {error.msg}") from None
        if not isinstance(row, dict):
            raise PromptFileError(f"{path}:{number}: a JSON object was expected, got {line[:40]!r}")
        if column not in row:
            raise PromptFileError(
                f"{path}:{number}: no field {column!r}; has {', '.join(map(repr, row))}"
            )
        if not isinstance(row[column], str):
            raise PromptFileError(f"{path}:{number}: {column!r} is not a string: {row[column]!r}")
        if any("\ud800" <= character <= "\udfff" for character in row[column]):
            raise PromptFileError(f"{path}:{number}: {column!r} holds half of a surrogate pair")
        yield row[column]


def _csv_prompts(path: Path, text: str, column: str) -> Iterator[str]:
    rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        header = rows.fieldnames  # reads the first line
        if header is None:
            raise PromptFileError(f"{path}: empty; a CSV header was expected")
        if column not in header:
            raise PromptFileError(
                f"{path}:1: no column {column!r}; has {', '.join(map(repr, header))}; "
                "set prompts.column"
            )
        for row in rows:
            if None in row.values() or None in row:
                raise PromptFileError(
                    f"{path}:{rows.line_num}: the row has not the {len(header)} fields "
                    "of the header; quote prompts that hold commas"
                )
            yield row[column]
    except csv.Error as error:
        # line_num is where the row before ended; a quote left open makes all that follows one row.
        raise PromptFileError(f"{path}:{rows.line_num + 1}: malformed CSV: {error}") from None
