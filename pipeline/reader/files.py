"""Access to shards and ledgers as local files, verified against the manifest."""

import hashlib
import os
from collections.abc import Callable
from typing import BinaryIO, TypeVar

from pipeline.core.errors import (
    CacheError,
    NPDError,
    ObjectNotFoundError,
    UserError,
    VerificationError,
)
from pipeline.reader.cache import Cache, DamagedError
from pipeline.reader.cache_folder import ANOTHER_FOLDER
from pipeline.storage.formats.checked_bytes import CheckedBytes, Known, ShardInfo
from pipeline.storage.formats.ledger import LedgerInfo
from pipeline.storage.layout import place_of
from pipeline.storage.local import LocalStore
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.versions import read_removal

_CHUNK_BYTES = 1024 * 1024
"""Bytes per read, few enough to stay in the processor's cache between reading and hashing."""

_Used = TypeVar("_Used")


def open_ledger_file(store: ObjectStore, info: LedgerInfo, cache: Cache | None) -> BinaryIO:
    """Open a ledger from a local store or from the cache and verify its digest.

    Raises ``ObjectNotFoundError`` or ``VerificationError`` with the ledger's name.
    """

    def checked(file: BinaryIO) -> BinaryIO:
        if _digest(file) == info.sha256:
            return file
        file.close()
        raise _damaged(store, info)

    return _use(store, info, cache, checked)


def map_shard(
    store: ObjectStore,
    info: ShardInfo,
    cache: Cache | None,
    known: Known | None,
    read: Callable[[CheckedBytes], _Used],
    *,
    at_once: bool,
) -> _Used:
    """Map a shard from a local store or from the cache and return ``read(content)``.

    With ``at_once``, the complete shard is checked now. Cached copies are always checked now,
    because a damaged copy can still be replaced here. ``read`` is called here for the same reason:
    without verification it still detects a copy that cannot be parsed. Raises the errors of
    ``open_ledger_file`` and of ``read``.
    """
    at_once = at_once or cache is not None or not isinstance(store, LocalStore)

    def mapped(file: BinaryIO) -> _Used:
        # The mapping stays valid when the file is closed, and also when it is evicted.
        with file:
            content = CheckedBytes(file, info, known, f"{store.url}/{info.key}")
        if at_once:
            content.check(0, content.num_bytes)
        return read(content)

    return _use(store, info, cache, mapped)


def _use(
    store: ObjectStore,
    info: ShardInfo | LedgerInfo,
    cache: Cache | None,
    use: Callable[[BinaryIO], _Used],
) -> _Used:
    """Return ``use(file)`` for an object. A damaged copy in the cache is replaced once."""
    if isinstance(store, LocalStore) and cache is None:
        try:
            here = store.open(info.key)
        except ObjectNotFoundError:
            raise _missing(store, info) from None
        return use(here)
    cache = cache or Cache.default()
    file = _cached(store, info, cache)
    try:
        return use(file)
    except VerificationError:
        # The copy was verified when it was downloaded, so it was damaged here, by a power cut or
        # by the disk. Download it again.
        cache.discard(info.sha256)
    file = _cached(store, info, cache)
    try:
        return use(file)
    except VerificationError as error:
        with _cached(store, info, cache) as copy:
            if _digest(copy) == info.sha256:
                raise
        raise CacheError(
            f"{cache.folder}: a file of the cache is damaged right after its bytes were written "
            f"and checked; this disk or memory is unreliable: {ANOTHER_FOLDER}"
        ) from error


def _cached(store: ObjectStore, info: ShardInfo | LedgerInfo, cache: Cache) -> BinaryIO:
    def fetch(start: int, length: int) -> bytes:
        return store.get_range(info.key, start, length)

    try:
        return cache.open(info.sha256, info.num_bytes, fetch)
    except DamagedError:
        raise _damaged(store, info) from None
    except ObjectNotFoundError:
        raise _missing(store, info) from None


def _digest(file: BinaryIO) -> str:
    """Return the SHA-256 of a file.

    Reading was measured at 1.1 GB/s per core. A new mapping of the same file gave 0.6 GB/s.
    """
    digest = hashlib.sha256()
    buffer = bytearray(_CHUNK_BYTES)
    view = memoryview(buffer)
    while count := os.readv(file.fileno(), [buffer]):
        digest.update(view[:count])
    return digest.hexdigest()


def _missing(store: ObjectStore, info: ShardInfo | LedgerInfo) -> NPDError:
    place = place_of(info.key)
    assert place is not None and place.version is not None, f"{info.key} is below a version"
    if read_removal(store, place.plan_id, place.version) is not None:
        # This is no damage that a reader may skip, because all shards of the version are removed.
        return UserError(
            f"{store.url}: version {place.version} of plan {place.plan_id} was removed "
            f"({info.key} is no longer stored); read another version, which `npd status` lists"
        )
    return ObjectNotFoundError(
        f"no object {info.key!r} in {store.url}, which its manifest names; `npd repair` restores it"
    )


def _damaged(store: ObjectStore, info: ShardInfo | LedgerInfo) -> VerificationError:
    return VerificationError(
        f"{store.url}/{info.key}: damaged, not the bytes that its manifest promises; "
        "`npd repair` restores it"
    )
