"""Does this store keep the promises on which the commit protocol rests? Asked before a build.

Several S3 look-alikes ignore If-None-Match: they accept every write and the last one wins, so two
workers could both commit one unit and neither would know. Nothing else would ever show it.
"""

import secrets
from collections.abc import Callable

from pipeline.errors import ObjectNotFoundError, PermanentStoreError, StoreError
from pipeline.storage import layout
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.s3 import S3Store

_FIRST, _SECOND, _THIRD = b"first", b"second", b"third"


def probe(store: ObjectStore) -> None:
    """Write, refuse to overwrite, read, swap and delete under ``.probe/``; leaves nothing behind.

    Raises ``PermanentStoreError`` where a promise is broken, and whatever the store's calls raise
    where it cannot be reached or written.
    """
    _with_scratch_key(store, _check_put_if_absent)
    _with_scratch_key(store, _check_put_if_version)
    if isinstance(store, S3Store):
        # Parts are completed by another request, in which some stores ignore the condition.
        _with_scratch_key(store.with_multipart_bytes(0), _check_put_if_absent)


class _BrokenPromiseError(PermanentStoreError):
    """The store did not do what the protocol needs; or so it looks."""


def _with_scratch_key(store: ObjectStore, check: Callable[[ObjectStore, str], None]) -> None:
    try:
        _check_once(store, check)
    except (_BrokenPromiseError, ObjectNotFoundError):
        # A collection beside this probe may have taken its object for a leftover: one without a
        # grace period, or any if this process stood still for longer. A store that does break its
        # promises breaks them again.
        _check_once(store, check)


def _check_once(store: ObjectStore, check: Callable[[ObjectStore, str], None]) -> None:
    # Its own key each time: two builds may probe one store at the same moment.
    key = layout.probe_key(secrets.token_hex(16))
    try:
        check(store, key)
    except BaseException as error:
        try:
            store.delete(key)
        except StoreError as second:
            error.add_note(f"and {store.url}/{key} could not be deleted: {second}")
        raise
    store.delete(key)
    if store.head(key) is not None:
        raise _broken(store, "a deleted object is still there")


def _check_put_if_absent(store: ObjectStore, key: str) -> None:
    if not store.put_if_absent(key, _FIRST):
        raise _broken(store, "it refuses the first write of a key as if the key were taken")
    if store.put_if_absent(key, _SECOND):
        raise _broken(store, "it ignores If-None-Match: a second put-if-absent overwrote the first")
    if _read(store, key) != _FIRST:
        raise _broken(store, "an object does not read back as it was written")


def _check_put_if_version(store: ObjectStore, key: str) -> None:
    store.put(key, _FIRST)
    _, stale = store.get_versioned(key)
    if not store.put_if_version(key, _SECOND, stale):
        raise _broken(store, "it refuses to replace an object at its current version")
    if store.put_if_version(key, _THIRD, stale):
        raise _broken(store, "it ignores If-Match: a replacement of an old version was accepted")
    if _read(store, key) != _SECOND:
        raise _broken(store, "an object does not read back as it was replaced")


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
