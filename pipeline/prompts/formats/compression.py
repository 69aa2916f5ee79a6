"""The bytes of a file that gzip or zstd may have compressed, as a stream."""

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal, cast

import pyarrow as pa

from pipeline.errors import PromptFileError

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
