"""The lines of a UTF-8 file, one at a time, so that a large file costs no memory."""

from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import PromptFileError


def utf8_lines(path: Path) -> Iterator[str]:
    """The lines with their ends. Raises ``PromptFileError`` with the line that is not UTF-8."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                # Spreadsheets put a byte order mark in front of CSV.
                yield _decoded(
                    path, number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                )
    except FileNotFoundError:
        raise PromptFileError(f"{path}: no such prompt file") from None
    except OSError as error:
        raise PromptFileError(f"{path}: cannot be read: {error.strerror}") from None


def _decoded(path: Path, number: int, line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise PromptFileError(
            f"{path}:{number}: not UTF-8 (byte {line[error.start]:#04x}); save the file as UTF-8"
        ) from None
