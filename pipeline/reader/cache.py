"""Cache of remote objects in a folder of bounded size, shared by processes and users.

Files are named by their digest, so a shard is stored once even if several data sets contain it. A
download is written to ``<digest>.part`` under a lock on that file. It is renamed when it is
complete and its digest is correct. A second process waits for the lock and then finds the complete
file. Locks are kernel locks (``flock``) that end with their process, so an unlocked ``.part`` is an
abandoned download and is removed. A file can be unlinked while other processes have it mapped: its
space is freed when they close the mapping.

Complete files are read without locks and without writes. So they can be read on a read-only mount,
in the folder of another user, and on file systems without locks.
"""

import errno
import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pipeline.core.errors import CacheError
from pipeline.reader.cache_folder import ANOTHER_FOLDER, cache_errors, is_at, lock_folder, reserve
from pipeline.storage.file_lock import locked
from pipeline.storage.user_cache import user_cache

_PART_BYTES = 16 * 1024 * 1024
_CONNECTIONS = 4
"""Number of parts of one object that are downloaded concurrently."""

_CANNOT_RESERVE = {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS}

Fetch = Callable[[int, int], bytes]
"""Function of a start and a length that returns these bytes of an object."""


class DamagedError(Exception):
    """The downloaded bytes do not match the expected size or digest."""


@dataclass(frozen=True)
class Cache:
    """Cache folder with a limit on its total size.

    Args:
        folder: Created when it is first needed.
        num_bytes: Maximum total size of the cached files. It must be at least the size of the
            largest shard. If it is below the reader's ``shuffle_bytes``, each process downloads
            shards again.
    """

    folder: Path
    num_bytes: int = 20_000_000_000

    @classmethod
    def default(cls) -> "Cache":
        """Return a cache of 20 GB in the user's cache folder (``XDG_CACHE_HOME``).

        Raises ``CacheError`` for a user without a home directory.
        """
        folder = user_cache()
        if folder is None:
            raise CacheError(
                f"there is no default cache folder, because this user has no home; {ANOTHER_FOLDER}"
            )
        return cls(folder)

    def open(self, digest: str, num_bytes: int, fetch: Fetch) -> BinaryIO:
        """Open a cached object and download it first if it is missing.

        The file is returned open because another process may unlink it at any time. A file of
        another size is replaced. Raises ``DamagedError`` if the downloaded bytes have another
        digest and ``CacheError`` if the folder cannot be used or is too small.
        """
        with cache_errors(self.folder, num_bytes):
            path = self.folder / digest
            # Repeat until the file is open. Between its download and this open, another process may
            # have evicted it to make room.
            while True:
                try:
                    file = path.open("rb", buffering=0)
                except FileNotFoundError:
                    self._fetch(path, num_bytes, fetch)
                    continue
                if os.fstat(file.fileno()).st_size == num_bytes:
                    # Update the time of last use, by which files are evicted. Without permission
                    # to do so, the file is only evicted sooner.
                    with suppress(OSError):
                        os.utime(file.fileno())
                    return file
                file.close()
                self.discard(digest)

    def discard(self, digest: str) -> None:
        """Remove a damaged file. Raise ``CacheError`` if this user may not remove it."""
        path = self.folder / digest
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise CacheError(
                f"{path}: this file of the cache is damaged, and cannot be removed "
                f"({error.strerror}); remove it, or {ANOTHER_FOLDER}"
            ) from error

    def _fetch(self, path: Path, num_bytes: int, fetch: Fetch) -> None:
        """Download an object to its final path, unless another process does it meanwhile."""
        # There are two kinds of locks. The folder's lock is held for moments, to list, create,
        # rename or remove files. A download holds the lock of its ``.part`` file, so that other
        # objects can be downloaded meanwhile. While it holds that lock it waits for the folder's. A
        # process that holds the folder's lock never waits for a download, so there is no deadlock.
        part, file = reserve(path, num_bytes, self.num_bytes)
        with file, locked(file):
            # If another process was downloading the object, the lock was free only after that
            # process had renamed or removed the file.
            if not is_at(part, file):
                return
            # Another process may also have finished before the reservation, which then made a new
            # file for an object that is complete.
            if path.exists():
                self._remove(part)
                return
            try:
                _download(file.fileno(), path.name, num_bytes, fetch)
                # The rename needs the folder lock: a listing could miss or repeat the file.
                with lock_folder(self.folder):
                    if path.exists():  # another user was faster
                        part.unlink()
                    else:
                        part.rename(path)
            except BaseException:
                # After a failure, also of Ctrl-C, give the space back now. A killed process leaves
                # its file to the next reservation of any process.
                if is_at(part, file):
                    self._remove(part)
                raise

    def _remove(self, part: Path) -> None:
        """Remove an unfinished download under the folder's lock."""
        with lock_folder(self.folder):
            part.unlink(missing_ok=True)


def _download(descriptor: int, digest: str, num_bytes: int, fetch: Fetch) -> None:
    """Download an object into an open file and verify its SHA-256 digest.

    Raises ``DamagedError`` for missing bytes or another digest, ``OSError`` if the file cannot be
    written, and the errors of ``fetch``.
    """
    _allocate(descriptor, num_bytes)
    seen = hashlib.sha256()
    starts = range(0, num_bytes, _PART_BYTES)
    lengths = [min(_PART_BYTES, num_bytes - start) for start in starts]
    threads = ThreadPoolExecutor(_CONNECTIONS, thread_name_prefix="npd-fetch")
    try:
        # ``map`` yields the parts in order, as the digest needs them, while later parts download.
        pieces = threads.map(fetch, starts, lengths)
        for start, length, piece in zip(starts, lengths, pieces, strict=True):
            if len(piece) != length:
                raise DamagedError(digest)
            _write(descriptor, piece, start)
            seen.update(piece)
    finally:
        threads.shutdown(cancel_futures=True)  # after a failure, skip the remaining parts
    if seen.hexdigest() != digest:
        raise DamagedError(digest)
    # A network file system may report a full disk only now. Also, without the sync a power cut
    # could leave the final name with a content of zeros, and a reader without verification would
    # use them.
    os.fsync(descriptor)


def _allocate(descriptor: int, num_bytes: int) -> None:
    """Reserve disk space. A sparse file would have the right size without any reserved blocks."""
    try:
        os.posix_fallocate(descriptor, 0, num_bytes)
    except OSError as error:
        if error.errno not in _CANNOT_RESERVE:
            raise
        os.ftruncate(descriptor, num_bytes)  # a full disk is then reported by the writes


def _write(descriptor: int, piece: bytes, start: int) -> None:
    """Write a piece at a position. Short writes, as on a nearly full disk, are continued."""
    left = memoryview(piece)
    while left:
        count = os.pwrite(descriptor, left, start)
        if not count:
            raise OSError(errno.EIO, "a write took no bytes")
        left, start = left[count:], start + count
