"""The kernel's lock of an open file (``flock``): processes and threads take turns at it.

``flock`` and not ``lockf``: the latter does not keep threads of one process apart. Some network
file systems have no such locks. Then an ``OSError`` says so.
"""

import errno
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

_UNAVAILABLE = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS}


@contextmanager
def locked(file: int | IO[Any]) -> Iterator[None]:
    """Wait for the lock of an open file, or keep it if it is held already; it is free afterwards.

    It is given back, and not left to the closing of the file: a process that was forked meanwhile,
    such as a DataLoader's worker, has a copy of what is open, and a lock lasts as long as any copy.
    """
    _flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        _flock(file, fcntl.LOCK_UN)


def try_lock(file: int | IO[Any]) -> bool:
    """Take the lock of an open file if it is free; return whether it was.

    The lock is held until it is given back or all copies of the open file are closed.
    """
    try:
        _flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _flock(file: int | IO[Any], operation: int) -> None:
    try:
        fcntl.flock(file, operation)
    except OSError as error:
        if error.errno not in _UNAVAILABLE:
            raise
        message = f"file locks (flock) do not work there: {error.strerror}"
        raise OSError(error.errno, message) from error
