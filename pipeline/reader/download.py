"""Filling a file with an object: room is reserved, every write checked, and the disk waited for."""

import errno
import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

_PART_BYTES = 16 * 1024 * 1024
_CONNECTIONS = 4
"""Parts of one object that are fetched at the same time."""

_CANNOT_RESERVE = {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS}

Fetch = Callable[[int, int], bytes]
"""Reads so many bytes from a position of an object."""


class DamagedError(Exception):
    """What was fetched is not what was promised."""


def download(descriptor: int, digest: str, num_bytes: int, fetch: Fetch) -> None:
    """Fill an open file with the object that has a SHA-256 digest.

    Raises ``DamagedError`` for fewer bytes or another digest, ``OSError`` where the file cannot be
    written, and what ``fetch`` raises.
    """
    _reserve(descriptor, num_bytes)
    seen = hashlib.sha256()
    starts = range(0, num_bytes, _PART_BYTES)
    lengths = [min(_PART_BYTES, num_bytes - start) for start in starts]
    threads = ThreadPoolExecutor(_CONNECTIONS, thread_name_prefix="npd-fetch")
    try:
        pieces = threads.map(fetch, starts, lengths)
        for start, length, piece in zip(starts, lengths, pieces, strict=True):
            if len(piece) != length:
                raise DamagedError(digest)
            _write(descriptor, piece, start)
            seen.update(piece)
    finally:
        threads.shutdown(cancel_futures=True)  # after a failure, what is left is not fetched
    if seen.hexdigest() != digest:
        raise DamagedError(digest)
    # A network file system may report a full disk only now. And after a power cut the name could be
    # there without the bytes: zeros, which a reader that does not verify would use.
    os.fsync(descriptor)


def _reserve(descriptor: int, num_bytes: int) -> None:
    """Take the room on the disk; a sparse file would have the size and promise nothing."""
    try:
        os.posix_fallocate(descriptor, 0, num_bytes)
    except OSError as error:
        if error.errno not in _CANNOT_RESERVE:
            raise
        os.ftruncate(descriptor, num_bytes)  # a full disk then shows while writing


def _write(descriptor: int, piece: bytes, start: int) -> None:
    """Write a piece at a position. A write may take a part only, where the disk is nearly full."""
    left = memoryview(piece)
    while left:
        count = os.pwrite(descriptor, left, start)
        if not count:
            raise OSError(errno.EIO, "a write took no bytes")
        left, start = left[count:], start + count
