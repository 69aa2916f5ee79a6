"""Errors of the file system as errors of a store, with the remedy."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.core.errors import (
    AccessDeniedError,
    PermanentStoreError,
    RetryableStoreError,
    StoreError,
    StoreFullError,
)

_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}

_FULL = {errno.ENOSPC, errno.EDQUOT}

NO_ROOM = {*_FULL, errno.EFBIG}
"""Errors of a write without room: on the disk, in a quota, or in a file of the largest size."""

_RETRYABLE = {errno.EIO, errno.ESTALE, errno.EAGAIN, errno.ETIMEDOUT, errno.EMFILE, errno.ENFILE}

_ANYWHERE = {*NO_ROOM, errno.EMFILE, errno.ENFILE, errno.EIO, errno.ESTALE}
"""Errors that a file without a name can raise."""

_REMEDIES = {
    errno.EACCES: "give this user write permission or choose another output",
    errno.EPERM: "the file system forbids it (without hard links it cannot hold a store)",
    errno.EOPNOTSUPP: "a store needs a file system with hard links and file locks",
    errno.ENOLCK: "a store needs a file system with hard links and file locks",
    errno.ENOSYS: "a store needs a file system with hard links and file locks",
    errno.EROFS: "it is mounted read-only; choose another output",
    errno.ENOTDIR: "part of this path is a file, not a folder; choose another output",
    errno.EISDIR: "it is a folder; remove it or choose another output",
    errno.ENOSPC: "free some space and run the same command again; what is committed stays",
    errno.ENAMETOOLONG: "a file system allows 255 bytes per name; choose a shorter one",
    errno.EMFILE: "this process may open no more files; raise the limit (`ulimit -n`)",
    errno.ENFILE: "this machine may open no more files; raise the limit (fs.file-max)",
    errno.EDQUOT: "raise the quota and run the same command again; what is committed stays",
    errno.EFBIG: "the file is larger than its file system or `ulimit -f` allows; raise the limit",
    errno.EIO: "the disk or its connection failed (see `dmesg`); run the same command again",
    errno.ESTALE: "its file server restarted or removed it; mount it again and repeat the command",
    errno.ETIMEDOUT: "its file server does not answer; repeat the command when it does",
}


def local_error(doing: str, path: Path, error: OSError) -> StoreError:
    """Return the error of a store that failed to read, write or list ``path``."""
    kind: type[StoreError] = PermanentStoreError
    if error.errno in _RETRYABLE:
        kind = RetryableStoreError
    elif error.errno in _DENIED:
        kind = AccessDeniedError
    elif error.errno in _FULL:
        kind = StoreFullError
    remedy = _REMEDIES.get(error.errno or 0, "check the path and the file system")
    # The free space includes that of the unfinished file, which is removed by now. A quota limits
    # less than that, and is not known here.
    is_full = error.errno == errno.ENOSPC
    room = f" ({free_space(path.parent)}, not enough)" if is_full else ""
    return kind(f"cannot {doing} {path}: {error.strerror or error}{room}; {remedy}")


@contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Raise the ``StoreError`` of ``local_error`` for an ``OSError`` while ``path`` is written."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise  # botocore's time-outs are OSErrors too; the store that is read handles them
        raise local_error("write", path, error) from error


def machine_error(error: OSError) -> StoreError | None:
    """Return the error of a full disk, a missing permission or a limit; None for another cause."""
    if error.errno not in _REMEDIES:
        return None
    if error.filename is not None:
        return local_error("use", Path(os.fsdecode(error.filename)), error)
    # Only these have a remedy without the name of the file.
    if error.errno not in _ANYWHERE:
        return None
    kind: type[StoreError] = RetryableStoreError
    if error.errno in NO_ROOM:
        kind = StoreFullError if error.errno in _FULL else PermanentStoreError
    return kind(f"cannot use a file: {error.strerror}; {_REMEDIES[error.errno]}")


def free_space(folder: Path) -> str:
    """Describe the free space at a folder, or at its first parent that exists."""
    while not os.access(folder, os.F_OK) and folder != folder.parent:
        folder = folder.parent
    try:
        return f"{shutil.disk_usage(folder).free:,} bytes free in {folder}"
    except OSError:
        return f"free space in {folder} unknown"
