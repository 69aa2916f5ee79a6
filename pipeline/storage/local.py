"""Object store in a folder of a POSIX file system. Every put is durable and atomic.

Limits:

- put-if-absent needs hard links. FAT and some network mounts lack them; the put then raises.
- put-if-version needs ``flock``. It is safe among processes of one machine. Over NFS it is only
  as safe as the locks of the mount, so several machines should share an S3 store instead.
- A key cannot also be the folder of another key (``a`` and ``a/b``). S3 allows this.
- A store is not trusted: it may come from somebody else. Only regular files are opened, and no link
  that leads out of the folder is followed.
"""

import logging
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from pipeline.core.errors import ObjectNotFoundError, PermanentStoreError
from pipeline.storage.confinement import open_beneath, path_beneath
from pipeline.storage.durable import (
    make_directory,
    sync_directory,
    temp_file,
)
from pipeline.storage.file_lock import locked
from pipeline.storage.local_errors import local_error
from pipeline.storage.local_folders import names_in, temporary_files
from pipeline.storage.object_store import (
    CHUNK_BYTES,
    MAX_OBJECT_BYTES,
    MAX_RECORD_BYTES,
    RESERVED,
    BytesContent,
    Content,
    FileContent,
    ObjectInfo,
    check_key,
    chunks,
    sha256_of,
    too_large,
)

logger = logging.getLogger(__name__)

_LOCK_NAME = f"{RESERVED}lock"


class LocalStore:
    """``ObjectStore`` for ``file://`` URLs. Nothing is created before the first write."""

    parallel_requests = 1

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.url = self.root.as_uri()

    @cached_property
    def _real_root(self) -> str:
        """Path of the folder without links, ending in a separator."""
        return f"{os.path.realpath(self.root).rstrip(os.sep)}{os.sep}"

    def get(self, key: str, max_bytes: int = MAX_OBJECT_BYTES) -> bytes:
        """Return the object's bytes.

        Raises ``ObjectNotFoundError``, and ``VerificationError`` for more than ``max_bytes``.
        """
        with self.open(key) as file, self._reading(key):
            # A sparse file takes no space on the disk, and memory as soon as it is read.
            if os.fstat(file.fileno()).st_size > max_bytes:
                raise too_large(f"{self.url}/{key}", max_bytes)
            return file.read()

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Return up to ``length`` bytes from ``start``. Raises ``ObjectNotFoundError``."""
        with self.open(key) as file, self._reading(key):
            file.seek(start)
            return file.read(length)

    def open(self, key: str) -> BinaryIO:
        """Open the object without a buffer.

        Raises ``ObjectNotFoundError``, and ``PermanentStoreError`` if the key is a link that leads
        out of the store, a FIFO or a device.
        """
        with self._reading(key) as path:
            descriptor = open_beneath(self._real_root, path_beneath(self._real_root, path))
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                os.close(descriptor)
                if stat.S_ISDIR(mode):
                    raise IsADirectoryError
                raise PermanentStoreError(f"cannot read {path}: it is not a regular file")
            return os.fdopen(descriptor, "rb", buffering=0)

    def get_versioned(self, key: str) -> tuple[bytes, str]:
        """Return a JSON record and its SHA-256, which is the version for ``put_if_version``."""
        data = self.get(key, MAX_RECORD_BYTES)
        return data, sha256(data).hexdigest()

    def head(self, key: str) -> ObjectInfo | None:
        """Return size and time of an object, or None if it does not exist."""
        try:
            with self._reading(key) as path:
                path_beneath(self._real_root, path)
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
                current = self.get(key, MAX_RECORD_BYTES)
            except ObjectNotFoundError:
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
        try:
            is_file = self.root.exists() and not self.root.is_dir()
        except OSError as error:
            raise local_error("list", self.root, error) from error
        if is_file:
            raise PermanentStoreError(f"cannot list {self.root}: it is a file, not a folder")
        for key in self._walk(prefix.rpartition("/")[0], prefix):
            path = f"{self.root}/{key}"  # a Path would take longer than the call of the system
            try:
                yield _info(key, os.stat(path))  # noqa: PTH116
            except FileNotFoundError:
                continue  # deleted during the walk
            except OSError:  # a link to itself: listed, so that it is reported, and never read
                yield _info(key, os.lstat(path))

    def delete(self, key: str) -> None:
        """Remove an object and folders that become empty; do nothing if it does not exist."""
        with self._writing(key) as path:
            if not path.is_file():
                return  # without the lock, which would create the root folder
            with suppress(FileNotFoundError), self._locked():
                path.unlink()
                sync_directory(path.parent)
            # S3 has no empty folders, so a local store keeps none either.
            self._prune(path.parent)

    def remove_leftovers(self, older_than_s: float) -> int:
        """Remove temporary files of crashed writers that are old enough; return their number."""
        # By the clock that dates files here: another machine, whose clock may differ by hours, may
        # serve this folder to several writers.
        with temp_file(self.root, []) as newest:
            newest_kept = newest.stat().st_mtime - older_than_s
        removed = 0
        for path in temporary_files(self.root):
            try:
                if path.lstat().st_mtime <= newest_kept:
                    path.unlink()
                    removed += 1
            except FileNotFoundError:
                continue  # its writer is alive and has just finished
        return removed

    def _create(self, key: str, content: Content) -> bool:
        with self._writing(key) as path:
            if path.is_file():  # avoids a long copy; the hard link below decides
                return self._holds(key, content)
            with temp_file(path.parent, chunks(content)) as temp:
                # A link fails if the name exists, while a rename would silently replace the file.
                try:
                    path.hardlink_to(temp)
                except FileExistsError:
                    return self._holds(key, content)
                sync_directory(path.parent)
                return True

    def _holds(self, key: str, content: Content) -> bool:
        info = self.head(key)
        if info is None or info.num_bytes != content.num_bytes:
            return False
        if sha256_of(self._pieces(key)) != sha256_of(chunks(content)):
            return False
        # Its writer may not have synced the name yet.
        sync_directory((self.root / key).parent)
        return True

    def _pieces(self, key: str) -> Iterator[bytes]:
        with self.open(key) as file, self._reading(key):
            while piece := file.read(CHUNK_BYTES):
                yield piece

    def _walk(self, folder: str, prefix: str) -> Iterator[str]:
        """Yield keys below a folder in order; memory holds the names of one folder per level."""
        # Not recursive, because folders may be nested deeper than Python's stack.
        levels = [(folder, iter(names_in(self.root / folder)))]
        while levels:
            folder, names = levels[-1]
            name = next(names, None)
            if name is None:
                levels.pop()
                continue
            key = f"{folder}/{name}" if folder else name
            if not key.endswith("/"):
                if key.startswith(prefix):
                    yield key
            elif key.startswith(prefix) or prefix.startswith(key):
                below = key.removesuffix("/")
                levels.append((below, iter(names_in(self.root / below))))

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
        descriptor = os.open(self.root / _LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            with locked(descriptor, when_long=self._warn_of_lock):
                yield
        finally:
            os.close(descriptor)

    def _warn_of_lock(self) -> None:
        # A writer holds the lock for milliseconds, unless it was suspended in between.
        logger.warning(
            "still waiting for %s, which another process holds. If that one is suspended (Ctrl-Z, "
            "SIGSTOP), continue it or end it",
            self.root / _LOCK_NAME,
        )

    @contextmanager
    def _reading(self, key: str) -> Iterator[Path]:
        path = self.root / check_key(key)
        try:
            yield path
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise ObjectNotFoundError(f"no object {key!r} in {self.url}") from error
        except OSError as error:
            raise local_error("read", path, error) from error

    @contextmanager
    def _writing(self, key: str) -> Iterator[Path]:
        path = self.root / check_key(key)
        # The last part is replaced or created, never followed.
        path_beneath(self._real_root, path.parent / "x")
        try:
            yield path
        except OSError as error:
            raise local_error("write", path, error) from error


def _info(key: str, status: os.stat_result) -> ObjectInfo:
    modified = datetime.fromtimestamp(status.st_mtime, tz=UTC)
    return ObjectInfo(key=key, num_bytes=status.st_size, modified=modified)
