"""The level of ``ObjectStore``: its calls are what is numbered and struck."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.errors import PermanentStoreError, RetryableStoreError
from pipeline.storage.object_store import ObjectInfo, ObjectStore
from tests.faults.simulated.calls import Caller, Fault

STORE_FAULTS = (
    Fault.CRASH_BEFORE,
    Fault.CRASH_AFTER,
    Fault.BLACKOUT_BEFORE,
    Fault.BLACKOUT_AFTER,
    Fault.REPLY_LOST,
    Fault.REFUSED,
    Fault.BUSY,  # and 409: above the store's own retries they are one error
    Fault.SLOW_BEFORE,
    Fault.SLOW_AFTER,
)


class FaultyStore:
    """An ``ObjectStore`` whose every call goes through ``calls``."""

    def __init__(self, store: ObjectStore, calls: Caller) -> None:
        self.url = store.url
        self._store = store
        self._calls = calls

    def get(self, key: str) -> bytes:
        return self._calls.make("get", key, lambda: self._store.get(key))

    def get_range(self, key: str, start: int, length: int) -> bytes:
        return self._calls.make("get_range", key, lambda: self._store.get_range(key, start, length))

    def get_versioned(self, key: str) -> tuple[bytes, str]:
        return self._calls.make("get_versioned", key, lambda: self._store.get_versioned(key))

    def get_file(self, key: str, path: Path) -> None:
        self._calls.make("get_file", key, lambda: self._store.get_file(key, path))

    def head(self, key: str) -> ObjectInfo | None:
        return self._calls.make("head", key, lambda: self._store.head(key))

    def put(self, key: str, data: bytes) -> None:
        self._calls.make("put", key, lambda: self._store.put(key, data))

    def put_if_absent(self, key: str, data: bytes) -> bool:
        return self._calls.make("put_if_absent", key, lambda: self._store.put_if_absent(key, data))

    def put_file_if_absent(self, key: str, path: Path) -> bool:
        return self._calls.make(
            "put_file_if_absent", key, lambda: self._store.put_file_if_absent(key, path)
        )

    def put_if_version(self, key: str, data: bytes, version: str) -> bool:
        return self._calls.make(
            "put_if_version", key, lambda: self._store.put_if_version(key, data, version)
        )

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return iter(self._calls.make("list", prefix, lambda: [*self._store.list(prefix)]))

    def delete(self, key: str) -> None:
        self._calls.make("delete", key, lambda: self._store.delete(key))


def failing_store(fault: Fault, method: str, key: str) -> Any:
    """What ``S3Store`` makes of a fault that lasts through all its tries."""
    if fault is Fault.REFUSED:
        if method == "put_if_version":
            return False  # as if the object had changed in between
        if not method.endswith("if_absent"):
            raise PermanentStoreError(f"cannot {method} {key}: PreconditionFailed (412)")
    raise RetryableStoreError(f"cannot {method} {key}: {fault}")
