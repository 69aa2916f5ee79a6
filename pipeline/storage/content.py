"""Sources of bytes for writes: a buffer in memory or a file on disk, read in chunks."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

CHUNK_BYTES = 4 * 1024 * 1024


class Content(Protocol):
    """A byte source of known size with random access; several threads may read it repeatedly."""

    @property
    def num_bytes(self) -> int:
        """Number of bytes."""
        ...

    def read(self, start: int, length: int) -> bytes:
        """Return ``length`` bytes from ``start``, or fewer at the end."""
        ...


class BytesContent:
    """Bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    @property
    def num_bytes(self) -> int:
        """Number of bytes."""
        return len(self._data)

    def read(self, start: int, length: int) -> bytes:
        """Return ``length`` bytes from ``start``, or fewer at the end."""
        return self._data[start : start + length]


class FileContent:
    """A file that must not change while it is read. Raises ``OSError`` if it is unreadable."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._num_bytes = path.stat().st_size

    @property
    def num_bytes(self) -> int:
        """Number of bytes when this object was created."""
        return self._num_bytes

    def read(self, start: int, length: int) -> bytes:
        """Return ``length`` bytes from ``start``, or fewer at the end."""
        with self._path.open("rb") as file:
            file.seek(start)
            return file.read(length)


def chunks(content: Content) -> Iterator[bytes]:
    """Yield all bytes in order, in chunks that fit in memory."""
    for start in range(0, content.num_bytes, CHUNK_BYTES):
        yield content.read(start, CHUNK_BYTES)


def sha256_of(pieces: Iterator[bytes]) -> str:
    """Return the SHA-256 of the concatenated pieces, in hexadecimal."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()
