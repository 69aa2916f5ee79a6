"""Test, before a build, that a store supports the conditional writes of the commit protocol.

Several S3-compatible stores ignore If-None-Match: they accept every write and the last one wins.
Two workers could then both commit one unit, and nothing else would detect it.
"""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipeline.core.errors import (
    AccessDeniedError,
    ObjectNotFoundError,
    PermanentStoreError,
    RetryableStoreError,
    StoreError,
    StoreFullError,
)
from pipeline.storage import layout
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.s3 import S3Store

_FIRST, _SECOND, _THIRD = b"first", b"second", b"third"


def probe(store: ObjectStore) -> None:
    """Test conditional writes, reads and deletes under ``.probe/``; leave no objects behind.

    Raises ``PermanentStoreError`` for a broken guarantee, and the errors of the store's calls
    if it cannot be reached or written.
    """
    _with_scratch_key(store, _check_put_if_absent)
    _with_scratch_key(store, _check_put_if_version)
    if isinstance(store, S3Store):
        # A multipart upload is completed by another kind of request, and some stores ignore the
        # condition there.
        with _step(store, "an upload in parts"):
            _with_scratch_key(store.with_multipart_bytes(0), _check_put_if_absent)


class _BrokenPromiseError(PermanentStoreError):
    """A check of the probe failed, so the store appears to break a guarantee."""


def _with_scratch_key(store: ObjectStore, check: Callable[[ObjectStore, str], None]) -> None:
    try:
        _check_once(store, check)
    except (_BrokenPromiseError, ObjectNotFoundError):
        # A garbage collection may have deleted the probe's object as a leftover: one without a
        # grace period, or any if this process was suspended for longer. A store that really breaks
        # its guarantees fails the second check too.
        _check_once(store, check)


def _check_once(store: ObjectStore, check: Callable[[ObjectStore, str], None]) -> None:
    # A new key each time, because two builds may probe one store at the same moment.
    key = layout.probe_key(secrets.token_hex(16))
    try:
        check(store, key)
    except BaseException as error:
        try:
            store.delete(key)
        except StoreError as second:
            error.add_note(f"and {store.url}/{key} could not be deleted: {second}")
        raise
    # Garbage collection and repair rely on deletes, so a store that ignores them is rejected too.
    store.delete(key)
    if store.head(key) is not None:
        raise _broken(store, "a deleted object is still there")


def _check_put_if_absent(store: ObjectStore, key: str) -> None:
    if not store.put_if_absent(key, _FIRST):
        raise _broken(store, "it refuses the first write of a key as if the key were taken")
    # The store can be reached and written, so an error from here on is one of this kind of request.
    with _step(store, "a second put-if-absent of a key"):
        overwritten = store.put_if_absent(key, _SECOND)
    if overwritten:
        raise _broken(store, "it ignores If-None-Match: a second put-if-absent overwrote the first")
    with _step(store, "reading the object after it"):
        data = _read(store, key)
    if data != _FIRST:
        raise _broken(store, "an object does not read back as it was written")


def _check_put_if_version(store: ObjectStore, key: str) -> None:
    store.put(key, _FIRST)
    _, stale = store.get_versioned(key)
    with _step(store, "replacing an object at its current version"):
        replaced = store.put_if_version(key, _SECOND, stale)
    if not replaced:
        raise _broken(store, "it refuses to replace an object at its current version")
    with _step(store, "replacing an object at an old version"):
        replaced = store.put_if_version(key, _THIRD, stale)
    if replaced:
        raise _broken(store, "it ignores If-Match: a replacement of an old version was accepted")
    if _read(store, key) != _SECOND:
        raise _broken(store, "an object does not read back as it was replaced")


@contextmanager
def _step(store: ObjectStore, what: str) -> Iterator[None]:
    """Add to an error of the store which request of the probe it failed."""
    try:
        yield
    except (_BrokenPromiseError, AccessDeniedError, ObjectNotFoundError, StoreFullError):
        raise
    except RetryableStoreError as error:
        raise RetryableStoreError(
            f"the store at {store.url} cannot be tested: it fails at {what}: {error}. If it fails "
            "again, it cannot be built into. infra/storage/README.md lists stores that can"
        ) from error
    except PermanentStoreError as error:
        raise _BrokenPromiseError(
            f"the store at {store.url} cannot be built into: it fails at {what}: {error}. "
            "infra/storage/README.md lists stores that can"
        ) from error


def _read(store: ObjectStore, key: str) -> bytes | None:
    try:
        return store.get(key)
    except ObjectNotFoundError:
        return None


def _broken(store: ObjectStore, what: str) -> _BrokenPromiseError:
    return _BrokenPromiseError(
        f"the store at {store.url} cannot be built into: {what}. Two workers could then overwrite "
        "each other's results unseen. Use a store that honours conditional writes "
        "(infra/storage/README.md lists some)"
    )
