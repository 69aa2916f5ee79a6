"""Exclusive locks on open files (``flock``), shared by processes and threads.

``lockf`` is not used because it does not exclude threads of one process from each other. Network
file systems without such locks raise an ``OSError`` that names the cause.
"""

import errno
import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Timer
from typing import IO, Any

_UNAVAILABLE = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS}

LONG_WAIT_S = 30.0
"""Seconds of waiting for a lock after which ``when_long`` is called."""


@contextmanager
def locked(file: int | IO[Any], *, when_long: Callable[[], object] | None = None) -> Iterator[None]:
    """Hold the exclusive lock of an open file; wait for it, and release it at the end.

    ``when_long`` is called once, in another thread, if the wait takes longer than ``LONG_WAIT_S``.
    A lock that this open file already holds is kept. The lock is released explicitly, because
    closing the file is not enough: a process forked meanwhile, such as a DataLoader worker, has a
    copy of the descriptor, and a lock lasts as long as any copy is open.
    """
    if when_long is None or not try_lock(file):
        with _alarm(when_long):
            _flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        _flock(file, fcntl.LOCK_UN)


def try_lock(file: int | IO[Any]) -> bool:
    """Take the lock of an open file if it is free; return True on success.

    The lock is held until it is released or all copies of the open file are closed.
    """
    try:
        _flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _alarm(when_long: Callable[[], object] | None) -> Iterator[None]:
    if when_long is None:
        yield
        return
    alarm = Timer(LONG_WAIT_S, when_long)
    alarm.daemon = True
    alarm.start()
    try:
        yield
    finally:
        alarm.cancel()


def _flock(file: int | IO[Any], operation: int) -> None:
    try:
        fcntl.flock(file, operation)
    except OSError as error:
        if error.errno not in _UNAVAILABLE:
            raise
        message = f"file locks (flock) do not work on this file system: {error.strerror}"
        raise OSError(error.errno, message) from error
