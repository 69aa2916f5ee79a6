"""Conversion of operating system errors to ``CacheError`` with the cache folder and a remedy."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import CacheError

ANOTHER_FOLDER = (
    "give another folder with cache=Cache(folder), or, in place of the default one, with the "
    "environment variable XDG_CACHE_HOME"
)

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_MORE_ROOM = (
    "free some space there, let the cache take less with cache=Cache(folder, num_bytes), or "
    f"{ANOTHER_FOLDER}"
)


@contextmanager
def explained(folder: Path, num_bytes: int) -> Iterator[None]:
    """Raise ``CacheError`` for an ``OSError`` of the cache in ``folder``.

    ``num_bytes`` is the size of the requested object.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        remedy = _MORE_ROOM if error.errno in _NO_ROOM else ANOTHER_FOLDER
        raise CacheError(
            f"the cache folder {folder} cannot be used for a file of {num_bytes:,} bytes "
            f"({_free(folder)}): {reason}; files that are complete there can still be read; "
            f"{remedy}"
        ) from error


def _free(folder: Path) -> str:
    """Describe the free space at a folder, or at its first existing parent."""
    while not os.access(folder, os.F_OK) and folder != folder.parent:
        folder = folder.parent
    try:
        return f"{shutil.disk_usage(folder).free:,} bytes free"
    except OSError:
        return "free space unknown"
