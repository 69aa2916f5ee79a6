"""The kernel's lock of an open file (``flock``): processes and threads take turns at it.

``flock`` and not ``lockf``: the latter does not keep threads of one process apart.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any


@contextmanager
def locked(file: int | IO[Any]) -> Iterator[None]:
    """Wait for the lock of an open file, or keep it if it is held already; it is free afterwards.

    It is given back, and not left to the closing of the file: a process that was forked meanwhile,
    such as a DataLoader's worker, has a copy of what is open, and a lock lasts as long as any copy.
    """
    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)
