"""Object stores, local or S3-compatible: their interface, keys, and sources of bytes for writes.

Keys are relative, use ``/`` and never end in it. They mean the same on S3 and on any file system.
S3 has no atomic rename, so nothing is published by copy or rename. put-if-absent makes a commit
atomic.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from pipeline.core.errors import VerificationError

RESERVED = ".npd-"
"""Prefix of the local store's internal files; no part of a key may start with it."""

_UNSAFE = re.compile(r"[\x00-\x1f\x7f\\]")

_MAX_KEY_BYTES = 1024  # S3's limit
_MAX_PART_BYTES = 255  # of a file name on ext4, XFS, APFS

CHUNK_BYTES = 4 * 1024 * 1024

MAX_RECORD_BYTES = 2**26
"""Largest receipt, plan, ``_SUCCESS`` or other JSON record that is read, except manifests."""

MAX_TABLE_BYTES = 2**29
"""Largest manifest or list of prompts that is read. Digests of pieces take 80 MB for a TB."""

MAX_OBJECT_BYTES = 2**33
"""Largest object that is read into memory: units and shards are objects of 128 MB by default."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectInfo:
    """Entry of a listing. ``slots`` saves half a GB for a million objects."""

    key: str
    num_bytes: int
    modified: datetime
    """Time of the last write, with its time zone."""


class ObjectStore(Protocol):
    """A flat map from keys to immutable bytes.

    Every call raises ``RetryableStoreError`` when its own retries are used up and
    ``PermanentStoreError`` when repeating is useless.
    """

    url: str
    """URL of the store without credentials or query, safe for logs."""

    parallel_requests: int
    """Number of requests at once that save time; 1 if none has to wait for a network."""

    def get(self, key: str, max_bytes: int = MAX_OBJECT_BYTES) -> bytes:
        """Return the object's bytes.

        Raises ``ObjectNotFoundError``, and ``VerificationError`` for an object of more than
        ``max_bytes``, before memory is taken for it.
        """
        ...

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Return up to ``length`` bytes from ``start``. Raises ``ObjectNotFoundError``."""
        ...

    def get_versioned(self, key: str) -> tuple[bytes, str]:
        """Return a JSON record and an opaque version for ``put_if_version``.

        Raises ``ObjectNotFoundError``, and ``VerificationError`` for an object of more than
        ``MAX_RECORD_BYTES``.
        """
        ...

    def head(self, key: str) -> ObjectInfo | None:
        """Return size and time of an object, or None if it does not exist."""
        ...

    def put(self, key: str, data: bytes) -> None:
        """Write durably and atomically; replace an existing object."""
        ...

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Write unless ``key`` exists; return True if the store now holds ``data`` under it.

        False means that other bytes were there first; they are left untouched. A lost reply and a
        retry can make a store refuse its earlier write, so a refusal is settled by reading:
        identical bytes count as written.
        """
        ...

    def put_file_if_absent(self, key: str, path: Path) -> bool:
        """Call ``put_if_absent`` with the content of a file of any size, read piece by piece.

        Use it only for content-addressed keys. Large objects go to S3 in parts, and not every store
        excludes writers of *different* bytes that complete at the same moment. The file
        must not change meanwhile. Raises ``OSError`` if it cannot be read.
        """
        ...

    def put_if_version(self, key: str, data: bytes, version: str) -> bool:
        """Replace the object if it is still at ``version`` (compare and swap).

        Return False if it is at another version or absent. A refusal is settled by reading, as in
        ``put_if_absent``: identical bytes count as written.
        """
        ...

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield all objects whose key starts with ``prefix``, sorted by key (code points)."""
        ...

    def delete(self, key: str) -> None:
        """Remove an object; do nothing if it does not exist."""
        ...


def too_large(where: str, max_bytes: int) -> VerificationError:
    """Return the error for an object that is larger than any that is stored under its name."""
    return VerificationError(f"{where}: damaged: it has more than {max_bytes:,} bytes")


def is_key(key: str) -> bool:
    """Return True for a key that every store accepts. A listing may hold others."""
    return _fault(key) is None


def check_key(key: str) -> str:
    """Return the key unchanged. Raises ``ValueError`` for one that some store could misread."""
    fault = _fault(key)
    if fault:
        raise ValueError(f"key {key!r}: {fault}; keys look like 'units/<plan_id>/000001.arrow'")
    return key


def _fault(key: str) -> str | None:
    if not key:
        return "is empty"
    if key.startswith("/") or key.endswith("/"):
        return "starts or ends with '/'"
    try:
        # Limits count bytes and not characters.
        num_bytes = len(key.encode())
    except UnicodeEncodeError:  # a file name that is not UTF-8
        return "is not UTF-8"
    if num_bytes > _MAX_KEY_BYTES:
        return f"is longer than {_MAX_KEY_BYTES} bytes"
    if _UNSAFE.search(key):
        return "contains a control character or a backslash"
    for part in key.split("/"):
        if part in ("", ".", ".."):
            return f"has a part {part!r}"
        # A local store would hide such an object in its listings.
        if part.startswith(RESERVED):
            return f"has a part that starts with {RESERVED!r}, which is reserved"
        if len(part.encode()) > _MAX_PART_BYTES:
            return f"has a part longer than {_MAX_PART_BYTES} bytes"
    return None


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
        # Opened for each read, so that threads do not share a position.
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
