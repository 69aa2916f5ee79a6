"""An ``ObjectStore`` in memory, with a clock that only tests advance."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import md5
from pathlib import Path

from pipeline.core.errors import ObjectNotFoundError
from pipeline.storage.object_store import MAX_OBJECT_BYTES, ObjectInfo, check_key


class Clock:
    """Clock that moves only when a test advances it."""

    def __init__(self, now: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self.now = now

    def advance(self, duration: timedelta) -> None:
        """Move the clock forward."""
        self.now += duration


@dataclass(frozen=True, kw_only=True)
class StoredObject:
    """One stored object."""

    data: bytes
    etag: str
    """Digest of the bytes, as in S3: equal bytes have equal versions."""
    modified: datetime


class Objects:
    """Map from keys to bytes with the conditional writes of S3. Each method is atomic.

    ``on_change`` is called with the key after every change, to check invariants.
    """

    def __init__(self, clock: Clock, on_change: Callable[[str], None] | None = None) -> None:
        self._clock = clock
        self._on_change = on_change
        self._objects: dict[str, StoredObject] = {}
        self._lock = threading.RLock()

    def get(self, key: str) -> StoredObject | None:
        """Return the object, or None if there is none."""
        return self._objects.get(key)

    def contents(self) -> dict[str, bytes]:
        """Return the bytes of all objects by key."""
        return {key: stored.data for key, stored in self._objects.items()}

    def keys(self, prefix: str) -> list[str]:
        """Return the keys that start with ``prefix``, sorted by code points."""
        return sorted(key for key in list(self._objects) if key.startswith(prefix))

    def put(
        self, key: str, data: bytes, *, if_absent: bool = False, if_etag: str | None = None
    ) -> bool:
        """Write if the condition holds. Return True if it did."""
        with self._lock:
            current = self._objects.get(key)
            if if_absent and current is not None:
                return False
            if if_etag is not None and (current is None or current.etag != if_etag):
                return False
            etag = f'"{md5(data).hexdigest()}"'
            self._objects[key] = StoredObject(data=data, etag=etag, modified=self._clock.now)
            self._changed(key)
        return True

    def delete(self, key: str) -> None:
        """Remove an object. An absent one is not an error."""
        with self._lock:
            if self._objects.pop(key, None) is not None:
                self._changed(key)

    def _changed(self, key: str) -> None:
        if self._on_change is not None:
            self._on_change(key)


class MemoryStore:
    """Complete ``ObjectStore`` over ``objects``, which several stores can share."""

    parallel_requests = 1

    def __init__(self, objects: Objects) -> None:
        self.url = "memory://store"
        self._objects = objects

    def get(self, key: str, max_bytes: int = MAX_OBJECT_BYTES) -> bytes:
        data = self._found(key).data
        assert len(data) <= max_bytes
        return data

    def get_range(self, key: str, start: int, length: int) -> bytes:
        return self._found(key).data[start : start + length]

    def get_versioned(self, key: str) -> tuple[bytes, str]:
        found = self._found(key)
        return found.data, found.etag

    def head(self, key: str) -> ObjectInfo | None:
        found = self._objects.get(check_key(key))
        return _info(key, found) if found else None

    def put(self, key: str, data: bytes) -> None:
        self._objects.put(check_key(key), data)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        return self._objects.put(check_key(key), data, if_absent=True) or self._holds(key, data)

    def put_file_if_absent(self, key: str, path: Path) -> bool:
        return self.put_if_absent(key, path.read_bytes())

    def put_if_version(self, key: str, data: bytes, version: str) -> bool:
        return self._objects.put(check_key(key), data, if_etag=version) or self._holds(key, data)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        for key in self._objects.keys(prefix):
            found = self._objects.get(key)
            if found:
                yield _info(key, found)

    def delete(self, key: str) -> None:
        self._objects.delete(check_key(key))

    def _holds(self, key: str, data: bytes) -> bool:
        found = self._objects.get(key)
        return found is not None and found.data == data

    def _found(self, key: str) -> StoredObject:
        found = self._objects.get(check_key(key))
        if found is None:
            raise ObjectNotFoundError(f"no object {key!r} in {self.url}")
        return found


def _info(key: str, found: StoredObject) -> ObjectInfo:
    return ObjectInfo(key=key, num_bytes=len(found.data), modified=found.modified)
