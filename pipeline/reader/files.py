"""Shards and ledgers as local files whose digests were checked."""

import hashlib
import os
from typing import BinaryIO

from pipeline.errors import ObjectNotFoundError, VerificationError
from pipeline.reader.cache import Cache, DamagedError
from pipeline.storage.local import LocalStore
from pipeline.storage.manifest import LedgerInfo, ShardInfo
from pipeline.storage.object_store import ObjectStore

_CHUNK_BYTES = 1024 * 1024
"""Stays in the processor's cache between reading and hashing."""


def open_object(
    store: ObjectStore, info: ShardInfo | LedgerInfo, cache: Cache | None, *, check: bool = True
) -> BinaryIO:
    """An object as an open local file: where it lies, or from the cache.

    With ``check`` its digest is computed. Raises ``ObjectNotFoundError`` and
    ``VerificationError`` naming the object.
    """
    if isinstance(store, LocalStore) and cache is None:
        try:
            file = (store.root / info.key).open("rb", buffering=0)
        except FileNotFoundError:
            raise _missing(store, info) from None
        return _checked(file, store, info) if check else file
    return _cached(store, info, cache or Cache.default(), check=check)


def _cached(
    store: ObjectStore, info: ShardInfo | LedgerInfo, cache: Cache, *, check: bool
) -> BinaryIO:
    def fetch(start: int, length: int) -> bytes:
        return store.get_range(info.key, start, length)

    try:
        file = cache.open(info.sha256, info.num_bytes, fetch)
        if not check or _digest(file) == info.sha256:
            return file
        # Not the store's fault: a power cut, or a disk. It was right when it was put here.
        file.close()
        cache.discard(info.sha256)
        return _checked(cache.open(info.sha256, info.num_bytes, fetch), store, info)
    except DamagedError:
        raise _damaged(store, info) from None
    except ObjectNotFoundError:
        raise _missing(store, info) from None


def _checked(file: BinaryIO, store: ObjectStore, info: ShardInfo | LedgerInfo) -> BinaryIO:
    if _digest(file) == info.sha256:
        return file
    file.close()
    raise _damaged(store, info)


def _digest(file: BinaryIO) -> str:
    """SHA-256. Seen: 1.1 GB/s a core, and 0.6 GB/s over a fresh mapping of the same file."""
    digest = hashlib.sha256()
    buffer = bytearray(_CHUNK_BYTES)
    view = memoryview(buffer)
    while count := os.readv(file.fileno(), [buffer]):
        digest.update(view[:count])
    return digest.hexdigest()


def _missing(store: ObjectStore, info: ShardInfo | LedgerInfo) -> ObjectNotFoundError:
    return ObjectNotFoundError(
        f"no object {info.key!r} in {store.url}, which its manifest names; `npd repair` mends it"
    )


def _damaged(store: ObjectStore, info: ShardInfo | LedgerInfo) -> VerificationError:
    return VerificationError(
        f"{store.url}/{info.key}: damaged, not the bytes that its manifest promises; "
        "`npd repair` mends it"
    )
