"""JSONL: an object a line, with the prompt in one of its fields."""

import json
from collections.abc import Iterator
from pathlib import Path

from pipeline.config.prompts import PromptSourceConfig
from pipeline.errors import PromptFileError
from pipeline.prompts.formats.lines import utf8_lines


def read_jsonl(path: Path, source: PromptSourceConfig) -> Iterator[str | None]:
    """A row a line; null is no prompt. Raises ``PromptFileError`` with the line."""
    for number, line in enumerate(utf8_lines(path), start=1):
        yield json_field(line, source.column, f"{path}:{number}") if line.strip() else None


def json_field(text: str, field: str, where: str) -> str | None:
    """A text field of an object; None where it is null.

    Raises ``PromptFileError``, which says ``where``.
    """
    try:
        row = json.loads(text)
    except json.JSONDecodeError as error:
        raise PromptFileError(f"{where}: not JSON: {error.msg}") from None
    if not isinstance(row, dict):
        raise PromptFileError(f"{where}: a JSON object was expected, got {text.strip()[:40]!r}")
    if field not in row:
        raise PromptFileError(f"{where}: no field {field!r}; has {', '.join(map(repr, row))}")
    value = row[field]
    if value is None:
        return None
    if not isinstance(value, str):
        raise PromptFileError(f"{where}: {field!r} is not a string: {value!r}")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise PromptFileError(f"{where}: {field!r} holds half of a surrogate pair")
    return value
