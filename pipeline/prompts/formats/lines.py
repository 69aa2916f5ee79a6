"""The lines of a UTF-8 file, one at a time, so that a large file costs no memory.

A line ends with a line feed, with or without a carriage return before it. The separators of Unicode
(U+0085, U+2028, U+2029), the vertical tab and the form feed do not end a line.
"""

from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import PromptFileError
from pipeline.prompts.formats.compression import opened_bytes
from pipeline.prompts.visible import is_visible

LONGEST = 64 * 2**20
"""Bytes of the longest line: the memory that a file without line ends can take."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def utf8_lines(path: Path) -> Iterator[str]:
    """Yield the lines without their ends.

    Raises ``PromptFileError`` for a file that cannot be read, and with the number of a line that is
    too long, not UTF-8, or holds a NUL byte or a carriage return.
    """
    for number, line in enumerate(lines_with_ends(path), start=1):
        yield bare_line(path, number, line)


def lines_with_ends(path: Path) -> Iterator[str]:
    """Yield the lines with their ends, and with the carriage returns in them.

    Raises ``PromptFileError`` as ``utf8_lines``.
    """
    with opened_bytes(path) as file:
        number = 0
        while line := file.readline(LONGEST + 1):
            number += 1
            if len(line) > LONGEST:
                raise PromptFileError(
                    f"{path}:{number}: a line of more than {LONGEST:,} bytes; a line is a prompt, "
                    "or a row of a table"
                )
            # Spreadsheets put a byte order mark in front of CSV.
            yield _decoded(
                path, number, line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line
            )


def bare_line(path: Path, number: int, line: str) -> str:
    """Return a line without its end.

    Raises ``PromptFileError`` where a carriage return stands within it: the file may have the line
    ends of old Macs, and would then be one line.
    """
    bare = line.rstrip("\r\n")
    if "\r" in bare:
        raise PromptFileError(
            f"{path}:{number}: a carriage return within the line; save the file with the line ends "
            "LF or CRLF, as by `tr '\\r' '\\n'`"
        )
    return bare


def _decoded(path: Path, number: int, line: bytes) -> str:
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise PromptFileError(
            f"{path}:{number}: not UTF-8 (byte {line[error.start]:#04x}); save the file as UTF-8"
        ) from None
    if "\0" in text and is_visible(text):
        raise PromptFileError(
            f"{path}:{number}: a NUL byte within the line, as in UTF-16 or binary files; save the "
            "file as UTF-8"
        )
    return text
