"""A folder of bounded size that keeps copies of remote objects, shared by any processes.

Files are named by their digest, so the same shard is kept once whatever names it. A download is
written to ``<digest>.part`` under a lock on that file and renamed when it is whole and right; who
comes second waits for the lock and finds it done. Locks are the kernel's (``flock``): they end with
their process, and a ``.part`` that nobody holds is left over and removed. A file may be unlinked
while others have it mapped: its room is free when they let go of it.
"""

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import UserError
from pipeline.storage.file_lock import locked

_PART = ".part"
_PART_BYTES = 16 * 1024 * 1024
_CONNECTIONS = 4
"""Parts of one object that are fetched at the same time."""

Fetch = Callable[[int, int], bytes]
"""Reads so many bytes from a position of an object."""


class DamagedError(Exception):
    """What was fetched is not what was promised."""


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
        """20 GB in the person's cache folder (``XDG_CACHE_HOME``)."""
        root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return cls(Path(root) / "noise-prompt-dataset")

    def open(self, digest: str, num_bytes: int, fetch: Fetch) -> BinaryIO:
        """An object, fetched if it is not here; open, because its name may soon be gone.

        Raises ``DamagedError`` for bytes of another digest, ``UserError`` for an object larger
        than the cache.
        """
        path = self.folder / digest
        while True:
            try:
                # Touched: what was used last is removed last.
                os.utime(path)
                return path.open("rb", buffering=0)
            except FileNotFoundError:
                self._fetch(path, num_bytes, fetch)

    def discard(self, digest: str) -> None:
        """Forget an object."""
        (self.folder / digest).unlink(missing_ok=True)

    def _fetch(self, path: Path, num_bytes: int, fetch: Fetch) -> None:
        part = path.with_suffix(_PART)
        with self._reserved(part, num_bytes) as file, locked(file):
            # Another process may have finished it, or removed it.
            if _stands_at(part, file) and not path.exists():
                _download(file.fileno(), path.name, num_bytes, fetch)
                with self._locked():
                    part.rename(path)

    def _reserved(self, part: Path, num_bytes: int) -> BinaryIO:
        """A file of full size to download into, locked unless another process is at it."""
        if num_bytes > self.num_bytes:
            raise UserError(
                f"the cache in {self.folder} holds {self.num_bytes:,} bytes, less than one shard "
                f"of {num_bytes:,}; give it more, as in cache=Cache(folder, num_bytes)"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._locked():
            self._make_room(num_bytes, part)
            file = os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0)
            with suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Others count the size, not what is written.
                file.truncate(num_bytes)
            return file

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Meanwhile nobody reserves or renames: a listing could miss, or name twice, what moves."""
        with (self.folder / ".lock").open("w") as lock, locked(lock):
            yield

    def _make_room(self, num_bytes: int, part: Path) -> None:
        """Remove what was not used for longest, and what killed processes left behind."""
        for left in self.folder.glob(f"*{_PART}"):
            if left != part and _is_left_over(left):
                left.unlink(missing_ok=True)
        there = sorted(_sizes(self.folder, but=part))
        used = sum(size for _, size, _ in there)
        for _, size, name in there:
            if used + num_bytes <= self.num_bytes:
                return
            if not name.endswith(_PART):
                (self.folder / name).unlink(missing_ok=True)
                used -= size


def _download(descriptor: int, digest: str, num_bytes: int, fetch: Fetch) -> None:
    seen = hashlib.sha256()
    starts = range(0, num_bytes, _PART_BYTES)
    with ThreadPoolExecutor(_CONNECTIONS, thread_name_prefix="npd-fetch") as threads:
        lengths = [min(_PART_BYTES, num_bytes - start) for start in starts]
        pieces = threads.map(fetch, starts, lengths)
        for start, piece in zip(starts, pieces, strict=True):
            os.pwrite(descriptor, piece, start)
            seen.update(piece)
    os.ftruncate(descriptor, num_bytes)
    if seen.hexdigest() != digest:
        raise DamagedError(digest)


def _stands_at(path: Path, file: BinaryIO) -> bool:
    """Whether an open file still stands under its name."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _is_left_over(part: Path) -> bool:
    """Whether nobody is writing it: its lock is free."""
    try:
        with part.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    except (BlockingIOError, FileNotFoundError):
        return False


def _sizes(folder: Path, *, but: Path) -> Iterator[tuple[int, int, str]]:
    """Time of last use, size and name of what is there."""
    for entry in os.scandir(folder):
        if entry.name.startswith(".") or entry.name == but.name:
            continue
        try:
            stat = entry.stat()
        except FileNotFoundError:
            continue
        yield stat.st_mtime_ns, stat.st_size, entry.name
