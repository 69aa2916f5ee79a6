"""An ``ObjectStore`` in memory."""

from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import ObjectNotFoundError
from pipeline.storage.object_store import ObjectInfo, check_key
from tests.faults.simulated.objects import Objects, StoredObject


class MemoryStore:
    """Keeps every promise of ``ObjectStore``; shared by all that share its ``objects``."""

    def __init__(self, objects: Objects) -> None:
        self.url = "memory://store"
        self._objects = objects

    def get(self, key: str) -> bytes:
        return self._found(key).data

    def get_range(self, key: str, start: int, length: int) -> bytes:
        return self._found(key).data[start : start + length]

    def get_versioned(self, key: str) -> tuple[bytes, str]:
        found = self._found(key)
        return found.data, found.etag

    def get_file(self, key: str, path: Path) -> None:
        data = self.get(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

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
