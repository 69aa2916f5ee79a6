"""Files that survive a power cut, or were never there: temp file, fsync, then one atomic step.

The temp file stands in the directory of its target, because a link or rename is atomic only
within one file system. A crash can leave one behind: its name marks it, nothing lists it.
"""

import errno
import os
import secrets
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


def write_whole(path: Path, pieces: Iterable[bytes]) -> None:
    """Put pieces into ``path``, which changes in one step at the end."""
    with temp_file(path.parent, pieces) as temp:
        temp.replace(path)


def _create(path: Path) -> int:
    for _ in range(_MKDIR_ATTEMPTS):
        try:
            make_directory(path.parent)
            return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except FileNotFoundError:
            continue  # a concurrent delete pruned the directory as empty
    raise FileNotFoundError(f"{path.parent} is removed again and again")
