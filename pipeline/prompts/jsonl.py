"""JSONL files: one object per line, with the prompt in one of its fields."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.config.prompts import PromptSourceConfig
from pipeline.core.errors import PromptFileError
from pipeline.prompts.limits import listed
from pipeline.prompts.text_file import utf8_lines

JsonObject = dict[str, Any]

_EXPECTED = "JSONL has one object on each line"
_EXAMPLE = 40
"""Maximum number of characters of a value in an error message."""


def read_jsonl(path: Path, source: PromptSourceConfig) -> Iterator[str | None]:
    """Yield the prompt of each line, or None if it is null. Raise ``PromptFileError``."""
    for row, where in jsonl_rows(path):
        yield None if row is None else text_field(row, source.column, where)


def jsonl_rows(path: Path) -> Iterator[tuple[JsonObject | None, str]]:
    """Yield the object of each line, or None for an empty line, with its place for messages.

    Raise ``PromptFileError`` with the line.
    """
    for number, line in enumerate(utf8_lines(path), start=1):
        where = f"{path}:{number}"
        yield json_object(line, where) if line.strip() else None, where


def json_object(text: str, where: str) -> JsonObject:
    """Parse a JSON object. Raise ``PromptFileError``, also if a key occurs twice."""
    try:
        row = json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise PromptFileError(f"{where}: not JSON: {error.msg}; {_EXPECTED}") from None
    except RecursionError:
        raise PromptFileError(f"{where}: nested too deeply") from None
    except _RepeatedKeyError as error:
        raise PromptFileError(f"{where}: the key {error.key!r} occurs twice") from None
    except ValueError as error:  # a number of more than 4,300 digits
        raise PromptFileError(f"{where}: JSON that cannot be parsed: {error}") from None
    if not isinstance(row, dict):
        start = text.strip()[:_EXAMPLE]
        raise PromptFileError(f"{where}: a JSON object was expected, got {start!r}; {_EXPECTED}")
    return row


def text_field(row: JsonObject, field: str, where: str) -> str | None:
    """Return a text field of an object, or None if it is null. Raise ``PromptFileError``."""
    if field not in row:
        raise PromptFileError(f"{where}: no field {field!r}; has {listed(row)}")
    value = row[field]
    if value is None:
        return None
    if not isinstance(value, str):
        raise PromptFileError(f"{where}: {field!r} is not a string: {_short(value)}")
    # JSON can contain such an escape, but the text cannot be encoded as UTF-8.
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise PromptFileError(f"{where}: {field!r} contains half of a surrogate pair")
    return value


class _RepeatedKeyError(ValueError):
    """An object contains a key twice."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def _object(pairs: list[tuple[str, Any]]) -> JsonObject:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        raise _RepeatedKeyError(next(name for name in row if names.count(name) > 1))
    return row


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _EXAMPLE else f"{text[:_EXAMPLE]}…"
