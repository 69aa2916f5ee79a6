"""What is to be written: bytes in memory or a file on disk, read alike and piece by piece."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

CHUNK_BYTES = 4 * 1024 * 1024


class Content(Protocol):
    """Bytes of a known number that can be read again, from anywhere, by several threads."""

    @property
    def num_bytes(self) -> int:
        """How many there are."""
        ...

    def read(self, start: int, length: int) -> bytes:
        """``length`` bytes from ``start``, fewer at the end."""
        ...


class BytesContent:
    """Bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    @property
    def num_bytes(self) -> int:
        """How many there are."""
        return len(self._data)

    def read(self, start: int, length: int) -> bytes:
        """``length`` bytes from ``start``, fewer at the end."""
        return self._data[start : start + length]


class FileContent:
    """A file that nobody changes meanwhile. Raises ``OSError`` where it cannot be read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._num_bytes = path.stat().st_size

    @property
    def num_bytes(self) -> int:
        """How many there were when this was made."""
        return self._num_bytes

    def read(self, start: int, length: int) -> bytes:
        """``length`` bytes from ``start``, fewer at the end."""
        with self._path.open("rb") as file:
            file.seek(start)
            return file.read(length)


def chunks(content: Content) -> Iterator[bytes]:
    """The whole content in order, in pieces that fit in memory."""
    for start in range(0, content.num_bytes, CHUNK_BYTES):
        yield content.read(start, CHUNK_BYTES)


def sha256_of(pieces: Iterator[bytes]) -> str:
    """The digest, in hexadecimal, of pieces put together."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()
