"""The bytes of a file that gzip or zstd may have compressed, as a stream.

The lines of a UTF-8 file, one at a time, so that a large file costs no memory.

A line ends with a line feed, with or without a carriage return before it. The separators of Unicode
(U+0085, U+2028, U+2029), the vertical tab and the form feed do not end a line.
"""

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal, cast

import pyarrow as pa

from pipeline.errors import PromptFileError
from pipeline.prompts.prompt import is_visible

Codec = Literal["gzip", "zstd"]

CODECS: dict[str, Codec] = {".gz": "gzip", ".zst": "zstd"}
"""By the suffix of a file's name."""

# The longer mark of two that begin alike comes first. A zstd file may begin with a frame to skip.
_MARKS: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xfe\0\0", "UTF-32"),
    (b"\0\0\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    *((bytes([low]) + b"\x2a\x4d\x18", "zstd") for low in range(0x50, 0x60)),
    (b"PK\x03\x04", "a zip archive"),
)
_LONGEST_MARK = max(len(mark) for mark, _ in _MARKS)


def codec_of(path: Path) -> Codec | None:
    """Return the codec that the last suffix of a name stands for; None for any other suffix."""
    return CODECS.get(path.suffix.lower())


@contextmanager
def opened_bytes(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading, decompressed as its suffix says.

    Several compressed parts in one file are read as one. Raises ``PromptFileError``, also while the
    file is read: for one that is missing, is not what its suffix says, is not UTF-8 by its first
    bytes, is cut off, or is damaged.
    """
    codec = codec_of(path)
    try:
        with path.open("rb") as file:
            start = file.peek(_LONGEST_MARK)[:_LONGEST_MARK]  # a pipe cannot be sought in
            if codec is None:
                _refuse_marked(path, start)
                yield file
                return
            _refuse_other(path, start, codec)
            with _decompressed(file, codec) as stream:
                start = stream.peek(_LONGEST_MARK)[:_LONGEST_MARK]
                _refuse_marked(path, start)
                yield cast(BinaryIO, stream)
    except FileNotFoundError:
        raise PromptFileError(f"{path}: no such prompt file") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise PromptFileError(_damaged(path, error)) from None
    except OSError as error:
        if error.strerror is None:  # of pyarrow, about what it decompresses
            raise PromptFileError(_damaged(path, error)) from None
        raise PromptFileError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:  # a name with a NUL in it
        if isinstance(error, PromptFileError):
            raise
        raise PromptFileError(f"{path}: cannot be read: {error}") from None


def _decompressed(file: BinaryIO, codec: Codec) -> io.BufferedReader:
    if codec == "gzip":
        return io.BufferedReader(gzip.GzipFile(fileobj=file))
    return io.BufferedReader(pa.input_stream(file, compression="zstd"))


def _damaged(path: Path, error: Exception) -> str:
    return f"{path}: cut off or damaged: {error}; fetch or compress it again"


def _refuse_other(path: Path, start: bytes, codec: Codec) -> None:
    kind = _kind(start)
    if kind == codec:
        return
    if not start or any(mark.startswith(start) for mark, name in _MARKS if name == codec):
        raise PromptFileError(_damaged(path, EOFError(f"{len(start)} bytes, less than a header")))
    other = "" if kind is None else f"; it is {kind}"
    raise PromptFileError(f"{path}: not {codec}, as its name says{other}")


def _refuse_marked(path: Path, start: bytes) -> None:
    kind = _kind(start)
    if kind in ("UTF-16", "UTF-32"):
        raise PromptFileError(f"{path}: {kind} and not UTF-8; save the file as UTF-8")
    if kind is not None:
        ends = [suffix for suffix, codec in CODECS.items() if codec == kind]
        advice = f"let its name end in {ends[0]}" if ends else "unpack it first"
        raise PromptFileError(f"{path}: {kind} and not text; {advice}")


def _kind(start: bytes) -> str | None:
    return next((name for mark, name in _MARKS if start.startswith(mark)), None)


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
