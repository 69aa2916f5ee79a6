"""Checked download of a file that a manifest names."""

from pipeline.errors import ObjectNotFoundError, VerificationError
from pipeline.identity import sha256
from pipeline.storage.formats.checked_bytes import ShardInfo
from pipeline.storage.manifest import LedgerInfo
from pipeline.storage.object_store import ObjectStore


def get_promised(store: ObjectStore, info: ShardInfo | LedgerInfo) -> bytes:
    """Return the bytes of a shard or ledger after checking the digest in its manifest.

    Raises ``VerificationError`` for other bytes and for a missing file.
    """
    try:
        data = store.get(info.key)
    except ObjectNotFoundError:
        raise VerificationError(
            f"{store.url}/{info.key}: missing; `npd repair` makes it again"
        ) from None
    if sha256(data) != info.sha256:
        raise VerificationError(
            f"{store.url}/{info.key}: not the bytes that its manifest promises; "
            "`npd repair` makes it again"
        )
    return data
