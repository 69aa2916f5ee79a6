"""Lines of UTF-8 files, which may be compressed with gzip or zstd.

A line ends with a line feed, with or without a carriage return before it. The Unicode separators
(U+0085, U+2028, U+2029), the vertical tab and the form feed do not end a line. Lines are read one
at a time, so the memory does not depend on the size of the file.
"""

import gzip
import io
import os
import select
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, Protocol, cast

import pyarrow as pa

from pipeline.core.errors import PromptFileError
from pipeline.prompts.limits import LONGEST, Expansion
from pipeline.prompts.prompt import is_visible

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

Codec = Literal["gzip", "zstd"]

CODECS: dict[str, Codec] = {".gz": "gzip", ".zst": "zstd"}
"""Maps suffixes of file names to codecs."""

PIPE_WAIT_S = 8.0
"""Time that a program has for its first line, if it writes prompts into a pipe."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

# Of two marks with the same beginning, the longer one comes first. A zstd file may begin with a
# skippable frame.
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


def utf8_lines(path: Path) -> Iterator[str]:
    """Yield the lines without their ends.

    Raise ``PromptFileError`` if the file cannot be read, and with the number of the line if a line
    is too long, is not UTF-8, or contains a NUL byte or a carriage return.
    """
    for number, line in enumerate(lines_with_ends(path), start=1):
        yield bare_line(path, number, line)


def lines_with_ends(path: Path) -> Iterator[str]:
    """Yield the lines with their ends. Lines may contain carriage returns.

    Raise the other errors of ``utf8_lines``.
    """
    with opened_bytes(path) as file:
        number = 0
        while line := file.readline(LONGEST + 1):
            number += 1
            if len(line) > LONGEST:
                raise PromptFileError(
                    f"{path}:{number}: a line of more than {LONGEST:,} bytes; each line must be a "
                    "prompt or a row of a table"
                )
            # Spreadsheets put a byte order mark in front of CSV.
            yield _decoded(
                path, number, line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line
            )


def bare_line(path: Path, number: int, line: str) -> str:
    """Return a line without its end. Raise ``PromptFileError`` for a carriage return within it."""
    # A file with the line ends of old Macs, carriage returns, would be read as a single line.
    bare = line.rstrip("\r\n")
    if "\r" in bare:
        raise PromptFileError(
            f"{path}:{number}: a carriage return within the line; save the file with LF or CRLF "
            "line ends, for example with `tr '\\r' '\\n'`"
        )
    return bare


def codec_of(path: Path) -> Codec | None:
    """Return the codec for the last suffix of a file name, or None."""
    return CODECS.get(path.suffix.lower())


@contextmanager
def opened_bytes(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading and decompress it according to its suffix.

    Several compressed parts in one file are read as one stream. Raise ``PromptFileError``, also
    while the file is read, if it is missing, truncated or damaged, if its content does not match
    its suffix, if its first bytes show that it is not UTF-8, or if it expands too much.
    """
    codec = codec_of(path)
    try:
        with _opened(path) as file:
            start = file.peek(_LONGEST_MARK)[:_LONGEST_MARK]  # not seek: the file may be a pipe
            if codec is None:
                _refuse_marked(path, start)
                yield file
                return
            _refuse_other(path, start, codec)
            with _decompressed(file, codec, Expansion.of(path)) as stream:
                start = stream.peek(_LONGEST_MARK)[:_LONGEST_MARK]
                _refuse_marked(path, start)
                yield cast(BinaryIO, stream)
    except FileNotFoundError:
        raise PromptFileError(f"{path}: no such prompt file") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise PromptFileError(_damaged(path, error)) from None
    except OSError as error:
        if error.strerror is None:  # from pyarrow: the compressed data is damaged
            raise PromptFileError(_damaged(path, error)) from None
        raise PromptFileError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:  # a NUL character in the name
        if isinstance(error, PromptFileError):
            raise
        raise PromptFileError(f"{path}: cannot be read: {error}") from None


def _opened(path: Path) -> io.BufferedReader:
    """Open a file, or a pipe such as that of ``<(command)`` in a shell."""
    if not stat.S_ISFIFO(path.stat().st_mode):
        return path.open("rb")
    # Without O_NONBLOCK, opening a pipe waits for a writer, and there may be none.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    readable, _, _ = select.select([descriptor], [], [], PIPE_WAIT_S)
    if not readable:
        os.close(descriptor)
        raise PromptFileError(
            f"{path}: a pipe into which nothing was written for {PIPE_WAIT_S:.0f} s"
        )
    os.set_blocking(descriptor, True)
    return os.fdopen(descriptor, "rb")


class Counted(io.RawIOBase):
    """A decompressed stream that counts what is read from it."""

    def __init__(self, stream: "_Readable", expansion: Expansion) -> None:
        self._stream, self._expansion = stream, expansion

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """Read the next bytes. Raise ``PromptFileError`` beyond the limit."""
        view = memoryview(buffer)
        data = self._stream.read(len(view))
        self._expansion.spend(len(data))
        view[: len(data)] = data
        return len(data)


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def _decompressed(file: BinaryIO, codec: Codec, expansion: Expansion) -> io.BufferedReader:
    if codec == "gzip":
        return io.BufferedReader(Counted(gzip.GzipFile(fileobj=file), expansion))
    return io.BufferedReader(Counted(pa.input_stream(file, compression="zstd"), expansion))


def _damaged(path: Path, error: Exception) -> str:
    return f"{path}: truncated or damaged: {error}; download or compress it again"


def _refuse_other(path: Path, start: bytes, codec: Codec) -> None:
    kind = _kind(start)
    if kind == codec:
        return
    if not start or any(mark.startswith(start) for mark, name in _MARKS if name == codec):
        raise PromptFileError(_damaged(path, EOFError(f"{len(start)} bytes, less than a header")))
    other = "" if kind is None else f"; it is {kind}"
    raise PromptFileError(f"{path}: not {codec}, as its name suggests{other}")


def _refuse_marked(path: Path, start: bytes) -> None:
    kind = _kind(start)
    if kind in ("UTF-16", "UTF-32"):
        raise PromptFileError(f"{path}: {kind} and not UTF-8; save the file as UTF-8")
    if kind is not None:
        ends = [suffix for suffix, codec in CODECS.items() if codec == kind]
        advice = f"give it a name that ends in {ends[0]}" if ends else "unpack it first"
        raise PromptFileError(f"{path}: {kind} and not text; {advice}")


def _kind(start: bytes) -> str | None:
    return next((name for mark, name in _MARKS if start.startswith(mark)), None)


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
