"""The few calls that the commit protocol makes on a store, local or S3-compatible.

Keys are relative, use ``/`` and never end in it. Nothing is published by copy or rename on S3;
put-if-absent is what makes a commit atomic.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectInfo:
    """What a listing says of one object. Without slots a million of them are half a GB more."""

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
    """Where this store is, fit for logs: without credentials or query."""

    def get(self, key: str) -> bytes:
        """The whole object. Raises ``ObjectNotFoundError``."""
        ...

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """``length`` bytes from ``start`` (fewer at the end). Raises ``ObjectNotFoundError``."""
        ...

    def get_versioned(self, key: str) -> tuple[bytes, str]:
        """The object and an opaque version for ``put_if_version``.

        Raises ``ObjectNotFoundError``.
        """
        ...

    def get_file(self, key: str, path: Path) -> None:
        """Copy the object to a local file piece by piece; ``path`` appears whole or not at all.

        Raises ``ObjectNotFoundError``, and ``OSError`` where ``path`` cannot be written.
        """
        ...

    def head(self, key: str) -> ObjectInfo | None:
        """Size and time of an object, or None where there is none."""
        ...

    def put(self, key: str, data: bytes) -> None:
        """Write durably and atomically; replaces what is there."""
        ...

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Write only where nothing is: True if the store now holds ``data`` under ``key``.

        False: something else was there first and is left untouched. A lost reply followed by a
        retry makes a store refuse its own write, so a refusal is settled by reading: identical
        bytes count as written.
        """
        ...

    def put_file_if_absent(self, key: str, path: Path) -> bool:
        """``put_if_absent`` with the content of a file of any size, read piece by piece.

        For keys that name their content: large objects go to S3 in parts, and not every store
        keeps writers of *different* bytes apart when they complete in the same moment. The file
        must not change meanwhile. Raises ``OSError`` where it cannot be read.
        """
        ...

    def put_if_version(self, key: str, data: bytes, version: str) -> bool:
        """Replace the object only while it is still at ``version`` (compare and swap).

        False where it is at another version or gone. A refusal is settled by reading, as in
        ``put_if_absent``: identical bytes count as written.
        """
        ...

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """All objects whose key starts with ``prefix``, sorted by key (code points)."""
        ...

    def delete(self, key: str) -> None:
        """Remove an object; absent is fine."""
        ...
