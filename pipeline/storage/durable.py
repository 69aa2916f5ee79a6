"""Files that survive a power cut, or were never there: temp file, fsync, then one atomic step.

The temp file stands in the directory of its target, because a link or rename is atomic only
within one file system. A crash can leave one behind: its name marks it, nothing lists it.
"""

import errno
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.storage.keys import RESERVED

TEMP_PREFIX = f"{RESERVED}tmp-"

_MKDIR_ATTEMPTS = 100


@contextmanager
def temp_file(directory: Path, pieces: Iterable[bytes]) -> Iterator[Path]:
    """A synced file in ``directory`` (made if needed) that is gone at the end unless renamed."""
    path = directory / f"{TEMP_PREFIX}{secrets.token_hex(8)}"
    descriptor = _create(path)
    try:
        with os.fdopen(descriptor, "wb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        yield path
    finally:
        path.unlink(missing_ok=True)


def sync_directory(directory: Path) -> None:
    """Make the names in ``directory`` durable: fsync of a file does not cover its name."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(directory: Path) -> None:
    """Make ``directory`` and its parents, each name durable. Raises ``NotADirectoryError``."""
    if directory.is_dir():
        return
    make_directory(directory.parent)
    try:
        directory.mkdir(exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, "not a directory", str(directory)) from error
    sync_directory(directory.parent)


def atomic_write(path: Path, pieces: Iterable[bytes]) -> None:
    """Put pieces into ``path``, which changes in one step at the end.

    A link is followed, and a device or a pipe is written to as it is.
    """
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            file.writelines(pieces)
        return
    path = path.resolve()
    with temp_file(path.parent, pieces) as temp:
        temp.replace(path)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a path for a writer that wants one; its file takes the place of ``path`` at the end.

    ``path`` changes in one step, when the file is complete and on the disk. One process at a time
    may write it; what a killed one has left is overwritten by the next.
    """
    unfinished = _unfinished(path)
    try:
        yield unfinished
        _sync_file(unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder to fill, which takes the place of ``path`` at the end.

    So ``path`` never holds a part of the files. One process at a time may write it; what a killed
    one has left is removed by the next.
    """
    unfinished, replaced = _unfinished(path), path.with_name(f".{path.name}.replaced")
    for left in (unfinished, replaced):
        shutil.rmtree(left, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        for each in unfinished.rglob("*"):
            (sync_directory if each.is_dir() else _sync_file)(each)
        sync_directory(unfinished)
        if path.exists():
            path.rename(replaced)
        unfinished.rename(path)
        shutil.rmtree(replaced, ignore_errors=True)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _unfinished(path: Path) -> Path:
    return path.with_name(f".{path.name}.unfinished")


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _create(path: Path) -> int:
    for _ in range(_MKDIR_ATTEMPTS):
        try:
            make_directory(path.parent)
            return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except FileNotFoundError:
            continue  # a concurrent delete pruned the directory as empty
    raise FileNotFoundError(f"{path.parent} is removed again and again")
