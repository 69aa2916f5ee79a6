"""A folder of bounded size that keeps copies of remote objects, shared by processes and users.

Files are named by their digest, so the same shard is kept once whatever names it. A download is
written to ``<digest>.part`` under a lock on that file and renamed when it is complete and its
digest is right; who comes second waits for the lock and finds it done. Locks are the kernel's
(``flock``): they end with their process, and a ``.part`` that nobody holds is left over and
removed. A file may be unlinked while others have it mapped: its room is free when they let it go.

Complete files are read without any lock and without writing anything. So they can be read on a
read-only mount, in the folder of another user, and where there are no locks.
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
"""Names of the cache's own files: a person may keep others in the folder, which nobody removes."""


@dataclass(frozen=True)
class Cache:
    """``folder`` is made when needed; ``num_bytes`` bounds the sum of its files.

    The bound must hold the largest shard; below the reader's ``shuffle_bytes`` shards are fetched
    anew in each process that maps them.
    """

    folder: Path
    num_bytes: int = 20_000_000_000

    @classmethod
    def default(cls) -> "Cache":
        """20 GB in the person's cache folder (``XDG_CACHE_HOME``).

        Raises ``CacheError`` for a user without a home.
        """
        root = Path(os.environ.get("XDG_CACHE_HOME", ""))
        if root.is_absolute():  # its specification has relative paths ignored
            return cls(root / "noise-prompt-dataset")
        try:
            home = Path.home()
        except RuntimeError as error:
            raise CacheError(
                f"there is no default cache folder, because this user has no home; {ANOTHER_FOLDER}"
            ) from error
        return cls(home / ".cache" / "noise-prompt-dataset")

    def open(self, digest: str, num_bytes: int, fetch: Fetch) -> BinaryIO:
        """An object, fetched if it is not here; open, because its name may soon be gone.

        A file of another size is replaced. Raises ``DamagedError`` for bytes of another digest,
        ``CacheError`` where the folder cannot be used or is too small.
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
                    # Touched: what was used last is removed last. Where that is not allowed, the
                    # file is only removed sooner.
                    with suppress(OSError):
                        os.utime(file.fileno())
                    return file
                file.close()
                self.discard(digest)

    def discard(self, digest: str) -> None:
        """Remove a damaged file. Raises ``CacheError`` where that is not allowed."""
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
        """Remove an unfinished download while nobody lists the folder."""
        with self._locked():
            part.unlink(missing_ok=True)

    def _reserved(self, path: Path, num_bytes: int) -> tuple[Path, BinaryIO]:
        """A file of full size to download into, locked unless another process is at it."""
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
                # Others count the size, not what is written. Where it cannot be had, the download
                # reports it.
                with suppress(OSError):
                    file.truncate(num_bytes)
            return part, file

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Meanwhile nobody reserves or renames: a listing could miss, or name twice, what moves."""
        with _open_to_lock(self.folder / ".lock", os.O_CREAT) as lock, locked(lock):
            yield

    def _make_room(self, num_bytes: int, part: Path) -> None:
        """Remove what was not used for longest, and what killed processes left behind.

        Raises ``CacheError`` where too much is there that this user may not remove.
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
    """Where this user downloads to: not into a file that another user began or left behind."""
    part = path.with_suffix(_PART)
    try:
        is_ours = part.stat().st_uid == os.getuid()
    except FileNotFoundError:
        is_ours = True
    return part if is_ours else path.with_suffix(f".{os.getuid()}{_PART}")


def _stands_at(path: Path, file: BinaryIO) -> bool:
    """Whether an open file still stands under its name."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _open_to_lock(path: Path, flags: int = 0) -> BinaryIO:
    """Open a file to lock it. For another user's the permission to read is enough."""
    try:
        return os.fdopen(os.open(path, os.O_RDWR | flags, 0o666), "r+b", buffering=0)
    except PermissionError:
        if not path.exists():
            raise
        return path.open("rb", buffering=0)


def _is_left_over(part: Path) -> bool:
    """Whether nobody is writing it: its lock is free."""
    try:
        with _open_to_lock(part) as file:
            return try_lock(file)
    except (PermissionError, FileNotFoundError):
        return False  # another user's, or gone


def _is_removed(path: Path) -> bool:
    """Remove a file, if this user may; return whether it is gone."""
    try:
        path.unlink(missing_ok=True)
    except PermissionError:
        return False
    return True


def _sizes(folder: Path, *, but: Path) -> Iterator[tuple[int, int, str]]:
    """Time of last use, size and name of what is there."""
    for name in _names(folder, but=but):
        with suppress(FileNotFoundError):
            stat = (folder / name).stat()
            yield stat.st_mtime_ns, stat.st_size, name


def _names(folder: Path, *, but: Path) -> list[str]:
    names = (path.name for path in folder.iterdir())
    return [name for name in names if _OURS.fullmatch(name) and name != but.name]
