"""Files and folders that commands write: checked before work, written atomically."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.core.errors import UserError


def check_output(path: Path) -> None:
    """Raise ``UserError`` if a file cannot be written. Called before work that it would waste."""
    with _writing(path):
        if path.is_dir():
            raise UserError(f"{path} is a folder; name a file in it")
        if not path.parent.is_dir():
            raise UserError(
                f"cannot write {path}: there is no folder {path.parent}; create it first"
            )
        _check_access(path, path if path.exists() else path.parent)


def check_new_output(path: Path) -> None:
    """Raise ``UserError`` if a file exists or cannot be written. Its folder may be missing."""
    with _writing(path):
        if path.exists():
            raise UserError(f"{path} already exists; choose another name")
        _check_below(path, path.parent)


def check_output_folder(path: Path) -> None:
    """Raise ``UserError`` if files cannot be written into a folder, which may not exist yet."""
    with _writing(path):
        _check_below(path, path)


def _check_below(path: Path, folder: Path) -> None:
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    if not there.is_dir():
        raise UserError(f"cannot write {path}: {there} is a file; choose another place")
    _check_access(path, there)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; choose another place") from error


def _check_access(path: Path, there: Path) -> None:
    if not os.access(there, os.W_OK):
        raise UserError(f"cannot write {path}: permission denied; choose another place")
