"""Output files named on the command line."""

from pathlib import Path

from pipeline.errors import UserError
from pipeline.storage.durable import atomic_write


def write_output(path: Path, data: bytes) -> None:
    """Write a file atomically. Raise ``UserError`` if it cannot be written."""
    try:
        atomic_write(path, [data])
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; choose another file") from error
