"""Object store in a folder of a POSIX file system. Every put is durable and atomic.

Limits:

- put-if-absent needs hard links. FAT and some network mounts lack them; the put then raises.
- put-if-version needs ``flock``. It is safe among processes of one machine. Over NFS it is only
  as safe as the locks of the mount, so several machines should share an S3 store instead.
- A key cannot also be the folder of another key (``a`` and ``a/b``). S3 allows this.
"""

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from pipeline.errors import (
    AccessDeniedError,
    ObjectNotFoundError,
    PermanentStoreError,
    RetryableStoreError,
    StoreError,
)
from pipeline.storage.content import (
    CHUNK_BYTES,
    BytesContent,
    Content,
    FileContent,
    chunks,
    sha256_of,
)
from pipeline.storage.durable import (
    TEMP_PREFIX,
    atomic_write,
    make_directory,
    sync_directory,
    temp_file,
)
from pipeline.storage.file_lock import locked
from pipeline.storage.object_store import RESERVED, ObjectInfo, check_key

_LOCK_NAME = f"{RESERVED}lock"

_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}

_RETRYABLE = {errno.EIO, errno.ESTALE, errno.EAGAIN, errno.ETIMEDOUT, errno.EMFILE, errno.ENFILE}

_REMEDIES = {
    errno.EACCES: "give this user write permission or choose another output",
    errno.EPERM: "the file system forbids it (without hard links it cannot hold a store)",
    errno.EOPNOTSUPP: "a store needs a file system with hard links and file locks",
    errno.ENOLCK: "a store needs a file system with hard links and file locks",
    errno.ENOSYS: "a store needs a file system with hard links and file locks",
    errno.EROFS: "it is mounted read-only; choose another output",
    errno.ENOTDIR: "part of this path is a file, not a folder; choose another output",
    errno.EISDIR: "it is a folder; remove it or choose another output",
    errno.ENOSPC: "free some space and run the same command again; what is committed stays",
    errno.EDQUOT: "raise the quota and run the same command again; what is committed stays",
}


class LocalStore:
    """``ObjectStore`` for ``file://`` URLs. Nothing is created before the first write."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.url = self.root.as_uri()

    def get(self, key: str) -> bytes:
        """Return the object's bytes. Raises ``ObjectNotFoundError``."""
        with self._reading(key) as path:
            return path.read_bytes()

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Return up to ``length`` bytes from ``start``. Raises ``ObjectNotFoundError``."""
        with self._reading(key) as path, path.open("rb") as file:
            file.seek(start)
            return file.read(length)

    def get_versioned(self, key: str) -> tuple[bytes, str]:
        """Return the object and its SHA-256, which is the version for ``put_if_version``."""
        data = self.get(key)
        return data, sha256(data).hexdigest()

    def get_file(self, key: str, path: Path) -> None:
        """Copy the object to a local file atomically."""
        atomic_write(path, self._pieces(key))

    def head(self, key: str) -> ObjectInfo | None:
        """Return size and time of an object, or None if it does not exist."""
        try:
            with self._reading(key) as path:
                if path.is_dir():
                    return None
                return _info(key, path.stat())
        except ObjectNotFoundError:
            return None

    def put(self, key: str, data: bytes) -> None:
        """Write durably and atomically; replace an existing object."""
        with self._writing(key) as path, temp_file(path.parent, [data]) as temp, self._locked():
            temp.replace(path)
            sync_directory(path.parent)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Write unless ``key`` exists; return True if the store now holds ``data`` under it."""
        return self._create(key, BytesContent(data))

    def put_file_if_absent(self, key: str, path: Path) -> bool:
        """Call ``put_if_absent`` with the content of a file of any size."""
        return self._create(key, FileContent(path))

    def put_if_version(self, key: str, data: bytes, version: str) -> bool:
        """Replace the object if it is still at ``version`` (compare and swap)."""
        with self._writing(key) as path, temp_file(path.parent, [data]) as temp, self._locked():
            try:
                current = path.read_bytes()
            except FileNotFoundError:
                return False
            if sha256(current).hexdigest() != version:
                return current == data  # identical bytes count as written
            temp.replace(path)
            sync_directory(path.parent)
            return True

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield the objects whose key starts with ``prefix``, sorted by key (code points)."""
        if prefix:
            check_key(prefix.removesuffix("/"))
        if self.root.exists() and not self.root.is_dir():
            raise PermanentStoreError(f"cannot list {self.root}: it is a file, not a folder")
        for key in self._walk(prefix.rpartition("/")[0], prefix):
            try:
                yield _info(key, (self.root / key).stat())
            except FileNotFoundError:
                continue  # deleted during the walk

    def delete(self, key: str) -> None:
        """Remove an object and folders that become empty; do nothing if it does not exist."""
        with self._writing(key) as path:
            if not path.is_file():
                return  # without the lock, which would create the root folder
            with suppress(FileNotFoundError), self._locked():
                path.unlink()
                sync_directory(path.parent)
            self._prune(path.parent)

    def remove_leftovers(self, older_than_s: float) -> int:
        """Remove temporary files of crashed writers that are old enough; return their number."""
        newest_kept = time.time() - older_than_s
        removed = 0
        for path in self.root.rglob(f"{TEMP_PREFIX}*"):
            try:
                if path.stat().st_mtime <= newest_kept:
                    path.unlink()
                    removed += 1
            except FileNotFoundError:
                continue  # its writer is alive and has just finished
        return removed

    def _create(self, key: str, content: Content) -> bool:
        with self._writing(key) as path:
            if path.is_file():  # avoids a long copy; the hard link below decides
                return self._holds(path, content)
            with temp_file(path.parent, chunks(content)) as temp:
                # A link fails if the name exists, while a rename would silently replace the file.
                try:
                    path.hardlink_to(temp)
                except FileExistsError:
                    return self._holds(path, content)
                sync_directory(path.parent)
                return True

    def _holds(self, path: Path, content: Content) -> bool:
        existing = FileContent(path)
        if existing.num_bytes != content.num_bytes:
            return False
        if sha256_of(chunks(existing)) != sha256_of(chunks(content)):
            return False
        sync_directory(path.parent)  # its writer may not have synced the name yet
        return True

    def _pieces(self, key: str) -> Iterator[bytes]:
        with self._reading(key) as path, path.open("rb") as file:
            while piece := file.read(CHUNK_BYTES):
                yield piece

    def _walk(self, folder: str, prefix: str) -> Iterator[str]:
        """Yield keys below a folder in order; memory holds the names of one folder per level."""
        for name in _names(self.root / folder):
            key = f"{folder}/{name}" if folder else name
            if not key.endswith("/"):
                if key.startswith(prefix):
                    yield key
            elif key.startswith(prefix) or prefix.startswith(key):
                yield from self._walk(key.removesuffix("/"), prefix)

    def _prune(self, folder: Path) -> None:
        while folder != self.root:
            try:
                folder.rmdir()
            except OSError:
                return  # not empty
            folder = folder.parent

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the store's lock, which every replace and delete takes during its critical step."""
        make_directory(self.root)
        descriptor = os.open(self.root / _LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            with locked(descriptor):
                yield
        finally:
            os.close(descriptor)

    @contextmanager
    def _reading(self, key: str) -> Iterator[Path]:
        path = self.root / check_key(key)
        try:
            yield path
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise ObjectNotFoundError(f"no object {key!r} in {self.url}") from error
        except OSError as error:
            raise _store_error("read", path, error) from error

    @contextmanager
    def _writing(self, key: str) -> Iterator[Path]:
        path = self.root / check_key(key)
        try:
            yield path
        except OSError as error:
            raise _store_error("write", path, error) from error


def _info(key: str, status: os.stat_result) -> ObjectInfo:
    modified = datetime.fromtimestamp(status.st_mtime, tz=UTC)
    return ObjectInfo(key=key, num_bytes=status.st_size, modified=modified)


def _names(folder: Path) -> list[str]:
    """Return the names in a folder, folders with a trailing '/', in the order of their keys.

    The '/' gives the right order: 'a-b' sorts before 'a/b', although 'a' sorts before 'a-b'.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted(
                f"{entry.name}/" if entry.is_dir() else entry.name
                for entry in entries
                if not entry.name.startswith(RESERVED)
                and not (entry.is_symlink() and entry.is_dir())  # could form a loop
            )
    except (FileNotFoundError, NotADirectoryError):
        return []  # does not exist, or was deleted during the walk
    except OSError as error:
        raise _store_error("list", folder, error) from error


def _store_error(doing: str, path: Path, error: OSError) -> StoreError:
    kind: type[StoreError] = PermanentStoreError
    if error.errno in _RETRYABLE:
        kind = RetryableStoreError
    elif error.errno in _DENIED:
        kind = AccessDeniedError
    remedy = _REMEDIES.get(error.errno or 0, "check the path and the file system")
    return kind(f"cannot {doing} {path}: {error.strerror or error}; {remedy}")
