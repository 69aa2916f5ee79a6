"""Folder of a cache: its locks, reserved space and eviction, and errors that name a remedy."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from pipeline.core.errors import CacheError
from pipeline.storage.file_lock import locked, try_lock
from pipeline.storage.local_errors import NO_ROOM, free_space

ANOTHER_FOLDER = (
    "give another folder with cache=Cache(folder), or, in place of the default one, with the "
    "environment variable XDG_CACHE_HOME"
)

_MORE_ROOM = (
    "free some space there, let the cache take less with cache=Cache(folder, num_bytes), or "
    f"{ANOTHER_FOLDER}"
)

_PART = ".part"
_OURS = re.compile(r"[0-9a-f]{64}((\.\d+)?\.part)?")
"""Pattern of the cache's file names. Other files in the folder are never removed."""


def reserve(path: Path, num_bytes: int, limit: int) -> tuple[Path, BinaryIO]:
    """Return a file of full size for a download, locked unless another process holds it.

    path: final path of the object in the cache folder.
    num_bytes: size of the object.
    limit: maximum total size of the folder's files.

    Raises ``CacheError`` if the object does not fit into the cache.
    """
    folder = path.parent
    if num_bytes > limit:
        raise CacheError(
            f"the cache in {folder} holds {limit:,} bytes, less than one shard "
            f"of {num_bytes:,}; give it more, as in cache=Cache(folder, num_bytes)"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with lock_folder(folder):
        # Make room and claim it under one lock. Two downloads that both counted the files first
        # would exceed the limit together.
        part = _part_of(path)
        _make_room(folder, num_bytes, limit, part)
        file = os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0)
        if try_lock(file):
            # Other processes count the size of the file, so set it before the download. If they
            # hold the lock, they did. A failure here is reported by the download.
            with suppress(OSError):
                file.truncate(num_bytes)
        return part, file


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Lock the folder. A listing could miss or repeat a file that is renamed meanwhile."""
    with _open_to_lock(folder / ".lock", os.O_CREAT) as lock, locked(lock):
        yield


def is_at(path: Path, file: BinaryIO) -> bool:
    """Return True if ``path`` still refers to the open file."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


@contextmanager
def cache_errors(folder: Path, num_bytes: int) -> Iterator[None]:
    """Raise ``CacheError`` for an ``OSError`` of the cache in ``folder``.

    ``num_bytes`` is the size of the requested object.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        remedy = _MORE_ROOM if error.errno in NO_ROOM else ANOTHER_FOLDER
        raise CacheError(
            f"the cache folder {folder} cannot be used for a file of {num_bytes:,} bytes "
            f"({free_space(folder)}): {reason}; files that are complete there can still be read; "
            f"{remedy}"
        ) from error


def _make_room(folder: Path, num_bytes: int, limit: int, part: Path) -> None:
    """Remove abandoned downloads, then the least recently used files.

    Raises ``CacheError`` if files that this user may not remove take too much space.
    """
    # A download is locked from its creation on, and both happen under the folder's lock. So a
    # download that is not locked now is abandoned: its process has ended.
    for name in _names(folder, but=part):
        if name.endswith(_PART) and _is_abandoned(folder / name):
            _try_remove(folder / name)
    there = sorted(_sizes(folder, but=part))
    used = sum(size for _, size, _ in there)
    kept = 0
    for _, size, name in there:
        if used + num_bytes <= limit:
            return
        # A running download stays. If only such files are in the way, the folder exceeds its limit
        # for a while, and no reader fails.
        if name.endswith(_PART):
            continue
        if _try_remove(folder / name):
            used -= size
        else:
            kept += size
    if kept + num_bytes > limit:
        raise CacheError(
            f"the cache in {folder} holds {limit:,} bytes and has no room for "
            f"{num_bytes:,}: {kept:,} bytes of other users are in it, and other users' files "
            f"stay; give it more with cache=Cache(folder, num_bytes), or {ANOTHER_FOLDER}"
        )


def _part_of(path: Path) -> Path:
    """Return the path of this user's download. It never is a file of another user."""
    # In a folder that all users can write to, a download that another user left can neither be
    # opened for writing nor be removed.
    part = path.with_suffix(_PART)
    try:
        is_ours = part.stat().st_uid == os.getuid()
    except FileNotFoundError:
        is_ours = True
    return part if is_ours else path.with_suffix(f".{os.getuid()}{_PART}")


def _open_to_lock(path: Path, flags: int = 0) -> BinaryIO:
    """Open a file for locking. Read permission is enough for a file of another user."""
    try:
        return os.fdopen(os.open(path, os.O_RDWR | flags, 0o666), "r+b", buffering=0)
    except PermissionError:
        if not path.exists():
            raise
        return path.open("rb", buffering=0)


def _is_abandoned(part: Path) -> bool:
    """Return True if a download is abandoned: no process holds its lock."""
    try:
        with _open_to_lock(part) as file:
            return try_lock(file)
    except (PermissionError, FileNotFoundError):
        return False  # it belongs to another user or was removed


def _try_remove(path: Path) -> bool:
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
