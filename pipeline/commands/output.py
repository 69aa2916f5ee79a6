"""Files that the command line names."""

from pathlib import Path

from pipeline.errors import UserError
from pipeline.storage.durable import atomic_write


def write_output(path: Path, data: bytes) -> None:
    """Write a file, which is there complete or not at all. Raises ``UserError``."""
    try:
        atomic_write(path, [data])
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; name another file") from error
