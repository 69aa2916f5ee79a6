"""Errors of the file system as errors of a store, with the remedy."""

import errno
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

_RETRYABLE = {errno.EIO, errno.ESTALE, errno.EAGAIN, errno.ETIMEDOUT, errno.EMFILE, errno.ENFILE}

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
    errno.EDQUOT: "raise the quota and run the same command again; what is committed stays",
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
    return kind(f"cannot {doing} {path}: {error.strerror or error}; {remedy}")
