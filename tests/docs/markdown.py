"""The code in the project's Markdown files."""

import re
import shlex
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]

FILES = sorted(
    [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), ROOT / "pipeline" / "demo" / "README.md"]
)

_FENCE = re.compile(r"^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"^    (?P<line>\S.*)$", re.MULTILINE)


def code_blocks(text: str, language: str) -> list[str]:
    """Return the fenced blocks of a language, in order."""
    return [found["code"] for found in _FENCE.finditer(text) if found["language"] == language]


def commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each command in indented blocks and ``sh`` blocks."""
    fenced = [line for block in code_blocks(text, "sh") for line in block.splitlines()]
    indented = [found["line"] for found in _INDENTED.finditer(_FENCE.sub("", text))]
    for line in [*_joined(fenced), *_joined(indented)]:
        yield from _words(line)


def mentions(text: str) -> Iterator[list[str]]:
    """Yield the words of each piece of inline code, which may be part of a command."""
    for found in re.findall(r"(?<!`)`([^`]+)`(?!`)", _FENCE.sub("", text)):
        yield from _words(found.replace("\n", " "))


def _words(line: str) -> Iterator[list[str]]:
    for command in re.split(r"&&|\|", line):
        # Inline code may be a lone quote, which is no command.
        with suppress(ValueError):
            yield shlex.split(command, comments=True)


def _joined(lines: list[str]) -> Iterator[str]:
    """Join lines that end in a backslash with the next one."""
    command = ""
    for line in lines:
        command += line.strip().removesuffix("\\")
        if not line.endswith("\\"):
            yield command
            command = ""
