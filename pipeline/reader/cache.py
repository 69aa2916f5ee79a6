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

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import CacheError
from pipeline.reader.cache_errors import ANOTHER_FOLDER, explained
from pipeline.reader.download import DamagedError, Fetch, download
from pipeline.storage.file_lock import locked, try_lock

__all__ = ["Cache", "DamagedError", "Fetch"]

_PART = ".part"
_OURS = re.compile(r"[0-9a-f]{64}((\.\d+)?\.part)?")
"""Pattern of the cache's file names. Other files in the folder are never removed."""


@dataclass(frozen=True)
class Cache:
    """Cache folder with a limit on its total size.

    folder: created when it is first needed.
    num_bytes: maximum total size of the cached files. It must be at least the size of the largest
        shard. If it is below the reader's ``shuffle_bytes``, each process downloads shards again.
    """

    folder: Path
    num_bytes: int = 20_000_000_000

    @classmethod
    def default(cls) -> "Cache":
        """Return a cache of 20 GB in the user's cache folder (``XDG_CACHE_HOME``).

        Raises ``CacheError`` for a user without a home directory.
        """
        root = Path(os.environ.get("XDG_CACHE_HOME", ""))
        if root.is_absolute():  # the XDG specification requires relative paths to be ignored
            return cls(root / "noise-prompt-dataset")
        try:
            home = Path.home()
        except RuntimeError as error:
            raise CacheError(
                f"there is no default cache folder, because this user has no home; {ANOTHER_FOLDER}"
            ) from error
        return cls(home / ".cache" / "noise-prompt-dataset")

    def open(self, digest: str, num_bytes: int, fetch: Fetch) -> BinaryIO:
        """Open a cached object and download it first if it is missing.

        The file is returned open because another process may unlink it at any time. A file of
        another size is replaced. Raises ``DamagedError`` if the downloaded bytes have another
        digest and ``CacheError`` if the folder cannot be used or is too small.
        """
        with explained(self.folder, num_bytes):
            path = self.folder / digest
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
        part, file = self._reserved(path, num_bytes)
        with file, locked(file):
            if not _stands_at(part, file):
                return  # another process has finished it, or removed it
            if path.exists():
                self._remove(part)
                return
            try:
                download(file.fileno(), path.name, num_bytes, fetch)
                # The rename needs the folder lock: a listing could miss or repeat the file.
                with self._locked():
                    if path.exists():  # another user was faster
                        part.unlink()
                    else:
                        part.rename(path)
            except BaseException:
                if _stands_at(part, file):
                    self._remove(part)
                raise

    def _remove(self, part: Path) -> None:
        """Remove an unfinished download under the folder's lock."""
        with self._locked():
            part.unlink(missing_ok=True)

    def _reserved(self, path: Path, num_bytes: int) -> tuple[Path, BinaryIO]:
        """Return a file of full size for a download, locked unless another process holds it."""
        if num_bytes > self.num_bytes:
            raise CacheError(
                f"the cache in {self.folder} holds {self.num_bytes:,} bytes, less than one shard "
                f"of {num_bytes:,}; give it more, as in cache=Cache(folder, num_bytes)"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._locked():
            part = _part_of(path)
            self._make_room(num_bytes, part)
            file = os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0)
            if try_lock(file):
                # Other processes count the size of the file, so reserve it before the download. A
                # failure here is reported by the download.
                with suppress(OSError):
                    file.truncate(num_bytes)
            return part, file

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Lock the folder. A listing could miss or repeat a file that is renamed meanwhile."""
        with _open_to_lock(self.folder / ".lock", os.O_CREAT) as lock, locked(lock):
            yield

    def _make_room(self, num_bytes: int, part: Path) -> None:
        """Remove abandoned downloads, then the least recently used files.

        Raises ``CacheError`` if files that this user may not remove take too much space.
        """
        for name in _names(self.folder, but=part):
            if name.endswith(_PART) and _is_left_over(self.folder / name):
                _is_removed(self.folder / name)
        there = sorted(_sizes(self.folder, but=part))
        used = sum(size for _, size, _ in there)
        kept = 0
        for _, size, name in there:
            if used + num_bytes <= self.num_bytes:
                return
            if name.endswith(_PART):
                continue
            if _is_removed(self.folder / name):
                used -= size
            else:
                kept += size
        if kept + num_bytes > self.num_bytes:
            raise CacheError(
                f"the cache in {self.folder} holds {self.num_bytes:,} bytes and has no room for "
                f"{num_bytes:,}: {kept:,} bytes of other users are in it, and other users' files "
                f"stay; give it more with cache=Cache(folder, num_bytes), or {ANOTHER_FOLDER}"
            )


def _part_of(path: Path) -> Path:
    """Return the path of this user's download. It never is a file of another user."""
    part = path.with_suffix(_PART)
    try:
        is_ours = part.stat().st_uid == os.getuid()
    except FileNotFoundError:
        is_ours = True
    return part if is_ours else path.with_suffix(f".{os.getuid()}{_PART}")


def _stands_at(path: Path, file: BinaryIO) -> bool:
    """Return True if ``path`` still refers to the open file."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _open_to_lock(path: Path, flags: int = 0) -> BinaryIO:
    """Open a file for locking. Read permission is enough for a file of another user."""
    try:
        return os.fdopen(os.open(path, os.O_RDWR | flags, 0o666), "r+b", buffering=0)
    except PermissionError:
        if not path.exists():
            raise
        return path.open("rb", buffering=0)


def _is_left_over(part: Path) -> bool:
    """Return True if a download is abandoned: no process holds its lock."""
    try:
        with _open_to_lock(part) as file:
            return try_lock(file)
    except (PermissionError, FileNotFoundError):
        return False  # it belongs to another user or was removed


def _is_removed(path: Path) -> bool:
    """Remove a file. Return False if this user may not remove it."""
    try:
        path.unlink(missing_ok=True)
    except PermissionError:
        return False
    return True


def _sizes(folder: Path, *, but: Path) -> Iterator[tuple[int, int, str]]:
    """Yield the time of last use, the size and the name of each cached file."""
    for name in _names(folder, but=but):
        with suppress(FileNotFoundError):
            stat = (folder / name).stat()
            yield stat.st_mtime_ns, stat.st_size, name


def _names(folder: Path, *, but: Path) -> list[str]:
    names = (path.name for path in folder.iterdir())
    return [name for name in names if _OURS.fullmatch(name) and name != but.name]
