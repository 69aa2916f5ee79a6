"""Shards and ledgers as local files that are checked against the manifest."""

import hashlib
import os
from collections.abc import Callable
from typing import BinaryIO, TypeVar

from pipeline.errors import (
    CacheError,
    NPDError,
    ObjectNotFoundError,
    UserError,
    VerificationError,
)
from pipeline.reader.cache import Cache, DamagedError
from pipeline.reader.cache_errors import ANOTHER_FOLDER
from pipeline.reader.checked import CheckedBytes, Known
from pipeline.storage.layout import place_of
from pipeline.storage.local import LocalStore
from pipeline.storage.manifest import LedgerInfo, ShardInfo
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.versions import read_removal

_CHUNK_BYTES = 1024 * 1024
"""Stays in the processor's cache between reading and hashing."""

_Used = TypeVar("_Used")


def open_ledger(store: ObjectStore, info: LedgerInfo, cache: Cache | None) -> BinaryIO:
    """A ledger, open where it lies or from the cache, whose digest is right.

    Raises ``ObjectNotFoundError`` and ``VerificationError`` naming it.
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
    """What ``read`` makes of a shard, mapped where it lies or from the cache.

    With ``at_once`` all of it is checked now; so are copies in the cache, while better ones can
    still take their place. So ``read`` is called here too: where nothing is to be checked, it still
    finds a copy that cannot be parsed. Raises as ``open_ledger`` does, and what ``read`` raises.
    """
    at_once = at_once or cache is not None or not isinstance(store, LocalStore)

    def mapped(file: BinaryIO) -> _Used:
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
    """What ``use`` makes of an object; a copy in the cache that it finds damaged is replaced."""
    if isinstance(store, LocalStore) and cache is None:
        try:
            here = (store.root / info.key).open("rb", buffering=0)
        except FileNotFoundError:
            raise _missing(store, info) from None
        return use(here)
    cache = cache or Cache.default()
    file = _cached(store, info, cache)
    try:
        return use(file)
    except VerificationError:
        # Not the store's fault: a power cut, or a disk. It was right when it was put here.
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
            f"and checked; this disk or memory is not to be trusted: {ANOTHER_FOLDER}"
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
    """SHA-256. Seen: 1.1 GB/s a core, and 0.6 GB/s over a fresh mapping of the same file."""
    digest = hashlib.sha256()
    buffer = bytearray(_CHUNK_BYTES)
    view = memoryview(buffer)
    while count := os.readv(file.fileno(), [buffer]):
        digest.update(view[:count])
    return digest.hexdigest()


def _missing(store: ObjectStore, info: ShardInfo | LedgerInfo) -> NPDError:
    place = place_of(info.key)
    assert place is not None and place.version is not None, f"{info.key} lies under a version"
    if read_removal(store, place.plan_id, place.version) is not None:
        # Not damage that a reader may skip: all shards of this version go.
        return UserError(
            f"{store.url}: version {place.version} of plan {place.plan_id} was removed "
            f"({info.key} is gone); read another version, which `npd status` lists"
        )
    return ObjectNotFoundError(
        f"no object {info.key!r} in {store.url}, which its manifest names; `npd repair` mends it"
    )


def _damaged(store: ObjectStore, info: ShardInfo | LedgerInfo) -> VerificationError:
    return VerificationError(
        f"{store.url}/{info.key}: damaged, not the bytes that its manifest promises; "
        "`npd repair` mends it"
    )
