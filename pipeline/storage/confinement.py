"""Confinement of a local store to its folder, which may come from somebody else."""

import os
from pathlib import Path

from pipeline.core.errors import PermanentStoreError

# A folder is opened to open what is in it. Without O_PATH, this needs the permission to list it.
_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK, opening a FIFO waits for a writer.
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


def path_beneath(root: str, path: Path) -> str:
    """Return ``path`` relative to ``root`` after following its links.

    ``root`` has no links and ends in a separator. Raises ``PermanentStoreError`` if a link on the
    way leads out of it.
    """
    real = os.path.realpath(path)
    if not real.startswith(root):
        raise PermanentStoreError(
            f"cannot use {path}: a link leads out of the store, to {real}; copy the data into "
            f"the store (`cp -rL`)"
        )
    return real.removeprefix(root)


def open_beneath(root: str, path: str) -> int:
    """Open a path of ``path_beneath`` for reading and return its descriptor.

    Raises ``OSError`` if a link has taken the place of a part since its links were followed.
    """
    *parents, name = Path(path).parts
    folder = os.open(root, _FOLDER)
    try:
        for part in parents:
            below = os.open(part, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = below
        return os.open(name, _FILE, dir_fd=folder)
    finally:
        os.close(folder)
