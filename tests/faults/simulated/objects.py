"""The objects of a store without a disk or a server, on a clock that only tests advance."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import md5


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self, now: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self.now = now

    def advance(self, duration: timedelta) -> None:
        """Let some time pass."""
        self.now += duration


@dataclass(frozen=True, kw_only=True)
class StoredObject:
    """One object."""

    data: bytes
    etag: str
    """A digest of the bytes, as S3's is: equal bytes are one version."""
    modified: datetime


class Objects:
    """A map from keys to bytes with the conditions of S3; each method is atomic.

    ``on_change`` is called after every change with the key: a place to watch what may never be.
    """

    def __init__(self, clock: Clock, on_change: Callable[[str], None] | None = None) -> None:
        self._clock = clock
        self._on_change = on_change
        self._objects: dict[str, StoredObject] = {}
        self._lock = threading.RLock()

    def get(self, key: str) -> StoredObject | None:
        """The object, or None where there is none."""
        return self._objects.get(key)

    def contents(self) -> dict[str, bytes]:
        """The bytes of all objects by key."""
        return {key: stored.data for key, stored in self._objects.items()}

    def keys(self, prefix: str) -> list[str]:
        """Keys that start with ``prefix``, sorted by code points."""
        return sorted(key for key in list(self._objects) if key.startswith(prefix))

    def put(
        self, key: str, data: bytes, *, if_absent: bool = False, if_etag: str | None = None
    ) -> bool:
        """Write, if the condition holds; whether it did."""
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
        """Remove an object; absent is fine."""
        with self._lock:
            if self._objects.pop(key, None) is not None:
                self._changed(key)

    def _changed(self, key: str) -> None:
        if self._on_change is not None:
            self._on_change(key)
