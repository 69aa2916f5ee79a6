"""Temporary folders with a clear error when the disk is full."""

import errno
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import UserError

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def scratch_folder(prefix: str) -> Iterator[Path]:
    """Yield an empty folder and remove it at the end. Raises ``UserError`` if the disk is full."""
    try:
        with tempfile.TemporaryDirectory(prefix=prefix) as name:
            yield Path(name)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise UserError(
            f"no room for temporary files in {tempfile.gettempdir()}: {error.strerror}; free some "
            "space there, or name another folder with the environment variable TMPDIR"
        ) from error
