"""Atomic, durable file writes: write a temporary file, fsync it, then rename or link it.

The temporary file is in the directory of its target, because a link or rename is atomic only
within one file system. A crash can leave one behind. Its reserved prefix keeps it out of listings.
"""

import errno
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.core.errors import UserError
from pipeline.storage.local_errors import NO_ROOM, free_space, output_errors
from pipeline.storage.object_store import RESERVED

TEMP_PREFIX = f"{RESERVED}tmp-"

_MKDIR_ATTEMPTS = 100


@contextmanager
def temp_file(directory: Path, pieces: Iterable[bytes]) -> Iterator[Path]:
    """Yield a synced file in ``directory``, which is created if needed; delete it afterwards."""
    path = directory / f"{TEMP_PREFIX}{secrets.token_hex(8)}"
    # The name is random, so that concurrent writers of one target never share a temporary file.
    descriptor = _create(path)
    try:
        with os.fdopen(descriptor, "wb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        yield path
    finally:
        # After a rename the temporary name no longer exists; after a link it is a second name.
        path.unlink(missing_ok=True)


def sync_directory(directory: Path) -> None:
    """Sync the entries of ``directory``, because fsync of a file does not cover its name."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(directory: Path) -> None:
    """Create ``directory`` and its parents durably. Raises ``NotADirectoryError``."""
    if directory.is_dir():
        return
    # Parents first: a folder is durable only after its parent's entry for it is.
    make_directory(directory.parent)
    try:
        directory.mkdir(exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, "not a directory", str(directory)) from error
    sync_directory(directory.parent)


def atomic_write(path: Path, pieces: Iterable[bytes]) -> None:
    """Write pieces to ``path`` and replace the file in one step at the end.

    Links are followed. Devices and pipes are written to directly. Raises ``StoreError`` if the file
    cannot be written.
    """
    with output_errors(path):
        if path.exists() and not path.is_file():
            with path.open("wb") as file:
                file.writelines(pieces)
            return
        # The file that a link names is replaced, not the link.
        path = path.resolve()
        with temp_file(path.parent, pieces) as temp:
            temp.replace(path)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path for a writer; its file replaces ``path`` at the end.

    ``path`` changes in one step, after the new file is complete and synced. Only one process at a
    time may write it. The next writer overwrites the leftover of a killed one. Raises
    ``StoreError`` for an ``OSError``, also of the writer.
    """
    unfinished = _unfinished(path)
    with output_errors(path):
        try:
            yield unfinished
            _sync_file(unfinished)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder to fill; it replaces ``path`` at the end.

    ``path`` never holds only some of the files. Only one process at a time may write it. The next
    writer removes the leftover of a killed one. Raises ``StoreError`` for an ``OSError``, also of
    the code that fills it.
    """
    unfinished, replaced = _unfinished(path), path.with_name(f".{path.name}.replaced")
    with output_errors(path):
        for leftover in (unfinished, replaced):
            shutil.rmtree(leftover, ignore_errors=True)
        unfinished.mkdir(parents=True)
        try:
            yield unfinished
            # A rename may reach the disk before the content. Without these syncs, a power cut could
            # leave a complete folder of empty files.
            for each in unfinished.rglob("*"):
                (sync_directory if each.is_dir() else _sync_file)(each)
            sync_directory(unfinished)
            # A rename cannot replace a folder that has content, so the old one moves aside first.
            if path.exists():
                path.rename(replaced)
            unfinished.rename(path)
            shutil.rmtree(replaced, ignore_errors=True)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


@contextmanager
def scratch_folder(prefix: str) -> Iterator[Path]:
    """Yield an empty folder and remove it at the end. Raises ``UserError`` if the disk is full."""
    try:
        with tempfile.TemporaryDirectory(prefix=prefix) as name:
            yield Path(name)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise UserError(
            f"no room for temporary files in {tempfile.gettempdir()}: {error.strerror or error} "
            f"({free_space(Path(tempfile.gettempdir()))}); free some space there, or name another "
            "folder with the environment variable TMPDIR"
        ) from error


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
    raise FileNotFoundError(f"{path.parent} keeps being removed by another process")
