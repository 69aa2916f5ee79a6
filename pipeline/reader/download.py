"""Download of an object into a file, with reserved space, checked writes and a final sync."""

import errno
import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

_PART_BYTES = 16 * 1024 * 1024
_CONNECTIONS = 4
"""Number of parts of one object that are downloaded concurrently."""

_CANNOT_RESERVE = {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS}

Fetch = Callable[[int, int], bytes]
"""Function of a start and a length that returns these bytes of an object."""


class DamagedError(Exception):
    """The downloaded bytes do not match the expected size or digest."""


def download(descriptor: int, digest: str, num_bytes: int, fetch: Fetch) -> None:
    """Download an object into an open file and verify its SHA-256 digest.

    Raises ``DamagedError`` for missing bytes or another digest, ``OSError`` if the file cannot be
    written, and the errors of ``fetch``.
    """
    _reserve(descriptor, num_bytes)
    seen = hashlib.sha256()
    starts = range(0, num_bytes, _PART_BYTES)
    lengths = [min(_PART_BYTES, num_bytes - start) for start in starts]
    threads = ThreadPoolExecutor(_CONNECTIONS, thread_name_prefix="npd-fetch")
    try:
        # ``map`` yields the parts in order, as the digest needs them, while later parts download.
        pieces = threads.map(fetch, starts, lengths)
        for start, length, piece in zip(starts, lengths, pieces, strict=True):
            if len(piece) != length:
                raise DamagedError(digest)
            _write(descriptor, piece, start)
            seen.update(piece)
    finally:
        threads.shutdown(cancel_futures=True)  # after a failure, skip the remaining parts
    if seen.hexdigest() != digest:
        raise DamagedError(digest)
    # A network file system may report a full disk only now. Also, without the sync a power cut
    # could leave the final name with a content of zeros, and a reader without verification would
    # use them.
    os.fsync(descriptor)


def _reserve(descriptor: int, num_bytes: int) -> None:
    """Reserve disk space. A sparse file would have the right size without any reserved blocks."""
    try:
        os.posix_fallocate(descriptor, 0, num_bytes)
    except OSError as error:
        if error.errno not in _CANNOT_RESERVE:
            raise
        os.ftruncate(descriptor, num_bytes)  # a full disk is then reported by the writes


def _write(descriptor: int, piece: bytes, start: int) -> None:
    """Write a piece at a position. Short writes, as on a nearly full disk, are continued."""
    left = memoryview(piece)
    while left:
        count = os.pwrite(descriptor, left, start)
        if not count:
            raise OSError(errno.EIO, "a write took no bytes")
        left, start = left[count:], start + count
