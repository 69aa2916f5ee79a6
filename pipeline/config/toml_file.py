"""TOML file with the line of each key, for error messages."""

import re
import tomllib
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import get_args

from pydantic import BaseModel, ValidationError

from pipeline.config.section import PATTERNS
from pipeline.core.errors import ConfigError
from pipeline.core.validation import Finding, findings

Key = tuple[str | int, ...]

_TABLE = re.compile(r"^\s*\[(?P<array>\[)?\s*(?P<name>[\w.\-\"' ]+?)\s*\]")
_ASSIGNMENT = re.compile(r"^\s*(?P<name>[\w.\-\"']+)\s*=")


@dataclass(frozen=True)
class TomlFile:
    """A parsed file and the line of each key."""

    path: Path
    values: dict[str, object]
    lines: dict[Key, int]

    def line(self, key: Key) -> int:
        """Return the line of a key, or of the nearest enclosing table, or 1 if there is none."""
        while key and key not in self.lines:
            key = key[:-1]
        return self.lines.get(key, 1)

    def error(self, error: ValidationError, model: type[BaseModel]) -> ConfigError:
        """Convert a validation error to a ``ConfigError`` with one line per finding."""
        found = findings(error, PATTERNS)
        return ConfigError("\n".join(self._describe(each, model) for each in found))

    def _describe(self, found: Finding, model: type[BaseModel]) -> str:
        key, section = _walk(found.key, model)
        # The key that selects one of several sections is missing in the location.
        if found.kind.startswith("union_tag_"):
            key = (*key, "kind")
        dotted, wrong = ".".join(map(str, key)), found.text
        place = f"{self.path}:{self.line(key)}"
        if found.kind == "extra_forbidden":
            wrong += _suggestion(str(key[-1]), section)
        return f"{place}: {dotted}: {wrong}" if dotted else f"{place}: {wrong}"


def read_toml(path: Path) -> TomlFile:
    """Parse a TOML file. Raises ``ConfigError`` if it cannot be read or is not TOML."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such configuration file") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: a folder, not a configuration file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text: byte {error.start} is wrong") from None
    try:
        values = tomllib.loads(text)
    except RecursionError:
        raise ConfigError(f"{path}: not valid TOML: nested too deeply") from None
    except ValueError as error:  # TOMLDecodeError, or a number of more than 4,300 digits
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    return TomlFile(path, values, _key_lines(text))


def _key_lines(text: str) -> dict[Key, int]:
    """Return the first line of each table and key."""
    # tomllib gives no positions, so the lines are searched. A line of a multi-line string can be
    # mistaken for a key, and then the line number of a message is wrong, but nothing else.
    lines: dict[Key, int] = {}
    table: Key = ()
    tables_in_array: dict[Key, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if found := _TABLE.match(line):
            table = _parts(found["name"])
            if found["array"]:
                position = tables_in_array.get(table, -1) + 1
                tables_in_array[table] = position
                lines.setdefault(table, number)
                table = (*table, position)
            lines[table] = number
        elif found := _ASSIGNMENT.match(line):
            lines.setdefault((*table, *_parts(found["name"])), number)
    return lines


def _parts(dotted: str) -> Key:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))


def _walk(loc: Key, model: type[BaseModel]) -> tuple[Key, type[BaseModel]]:
    """Return the key as written in the file, and the section that contains it."""
    # In a union of sections, pydantic inserts the kind of the section into the location. The file
    # has no such level.
    key: list[str | int] = []
    kinds: dict[str, type[BaseModel]] = {}
    section = model
    for part in loc:
        if part in kinds:
            section, kinds = kinds[str(part)], {}
            continue
        key.append(part)
        if isinstance(part, str) and (field := section.model_fields.get(part)):
            found = sections_in(field.annotation)
            kinds = {kind_of(each): each for each in found} if len(found) > 1 else {}
            section = found[0] if len(found) == 1 else section
    return tuple(key), section


def sections_in(annotation: object) -> list[type[BaseModel]]:
    """Return the sections in a field's type: itself, or those of an optional, tuple or union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for inner in get_args(annotation) for found in sections_in(inner)]


def kind_of(section: type[BaseModel]) -> str:
    """Return the value of ``kind`` that selects a section of a union."""
    return str(get_args(section.model_fields["kind"].annotation)[0])


def _suggestion(key: str, section: type[BaseModel]) -> str:
    valid = list(section.model_fields)
    near = get_close_matches(key, valid, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; valid here: {', '.join(valid)}"
