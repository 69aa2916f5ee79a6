"""Files that a manifest names: the table of shard formats, and checked reading.

All parts of the project read shards through this module. A reader that trains checks the bytes of a
shard piece by piece and passes them to ``read_columns``. The other functions check a complete file
against its SHA-256.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from pipeline.core.errors import ObjectNotFoundError, VerificationError
from pipeline.core.identity import sha256
from pipeline.core.records import Split
from pipeline.storage.formats.arrow_messages import check_footer, read_blocks
from pipeline.storage.formats.arrow_shard import read_arrow, write_batches
from pipeline.storage.formats.checked_bytes import CheckedBytes, ShardInfo
from pipeline.storage.formats.ledger import Ledger, LedgerInfo, ledger_schema
from pipeline.storage.formats.pairs import UNREADABLE, NoisePair, PairColumns, PairSchema
from pipeline.storage.formats.webdataset_shard import read_tar, write_tar
from pipeline.storage.layout import ShardFormat
from pipeline.storage.local import LocalStore
from pipeline.storage.manifest import Manifest
from pipeline.storage.object_store import ObjectStore


def _write_arrow(path: Path, batches: Iterator[pa.RecordBatch], rows_per_batch: int) -> None:
    # The first batch is taken out for its schema, which the writer needs before any row.
    first = next(batches)  # a shard is never empty
    with path.open("wb") as file:
        write_batches(file, first.schema, chain([first], batches), rows_per_batch)


def _write_webdataset(path: Path, batches: Iterator[pa.RecordBatch], rows_per_batch: int) -> None:
    with path.open("wb") as file:
        write_tar(file, batches)


WRITERS: Mapping[ShardFormat, Callable[[Path, Iterator[pa.RecordBatch], int], None]] = {
    "arrow": _write_arrow,
    "webdataset": _write_webdataset,
}
"""Maps each shard format to its writer: ``writer(path, batches, rows_per_batch)``."""

_READERS: Mapping[ShardFormat, Callable[[CheckedBytes, str, PairSchema], PairColumns]] = {
    "arrow": read_arrow,
    "webdataset": read_tar,
}

_PREFERRED: tuple[ShardFormat, ...] = ("arrow", "webdataset")
"""Shard formats, fastest first. Arrow shards are memory-mapped and need no parsing."""


@dataclass(frozen=True, kw_only=True)
class ShardRef:
    """A shard and the store that holds it."""

    store: ObjectStore
    info: ShardInfo
    format: ShardFormat
    plan_id: str
    schema: PairSchema

    @property
    def url(self) -> str:
        """URL of the shard for messages."""
        return f"{self.store.url}/{self.info.key}"


def shard_refs(
    store: ObjectStore, manifest: Manifest, split: Split, shard_format: ShardFormat | None = None
) -> list[ShardRef]:
    """Return the shards of a split in order. The default format is the one that reads fastest."""
    formats = manifest.shards[split]
    # Every format of a split holds the same pairs in the same order.
    fastest = next(name for name in _PREFERRED if name in formats)
    chosen = fastest if shard_format is None else shard_format
    schema = PairSchema.of_plan(manifest.plan, manifest.latent_shape)
    return [
        ShardRef(store=store, info=info, format=chosen, plan_id=manifest.plan_id, schema=schema)
        for info in formats[chosen]
    ]


def read_columns(content: CheckedBytes, ref: ShardRef) -> PairColumns:
    """Read the columns of a shard from its bytes.

    Raises ``VerificationError`` with the shard's name if they do not match its manifest.
    """
    try:
        columns = _READERS[ref.format](content, ref.plan_id, ref.schema)
    except UNREADABLE as error:
        raise VerificationError(f"{ref.url}: cannot be read: {error}") from error
    # The bytes match their digest, but a manifest that was edited may count other pairs.
    if columns.num_pairs != ref.info.num_samples:
        raise VerificationError(
            f"{ref.url}: {columns.num_pairs} pairs, {ref.info.num_samples} promised"
        )
    return columns


def open_whole(ref: ShardRef) -> PairColumns:
    """Check a complete shard against its SHA-256 and open it. Nothing is cached.

    Raises ``ObjectNotFoundError`` or ``VerificationError`` with the shard's name.
    """
    content = _content(ref)
    if hashlib.sha256(content.mapped).hexdigest() != ref.info.sha256:
        raise VerificationError(_not_promised(ref.url))
    return read_columns(content, ref)


def read_all_ways(data: bytes, ref: ShardRef) -> list[NoisePair]:
    """Read the pairs of a shard or unit object, as this project's readers do.

    Raises ``VerificationError`` if they would reject it, or if a reader that uses the footer of
    an Arrow file would find other pairs.
    """
    content = CheckedBytes(data, ref.info, None, ref.url)
    columns = read_columns(content, ref)
    try:
        # This project reads the stream of an Arrow file. Other libraries read its footer.
        if ref.format == "arrow":
            check_footer(content, read_blocks(content))
        return list(columns.pairs())
    except UNREADABLE as error:
        raise VerificationError(f"{ref.url}: cannot be read: {error}") from None


def read_ledger(store: ObjectStore, manifest: Manifest) -> Ledger:
    """Check a ledger against its SHA-256 and open it. Raises as ``ledger_bytes`` does."""
    return open_ledger(_promised_bytes(store, manifest.ledger), store, manifest)


def open_ledger(source: bytes | BinaryIO, store: ObjectStore, manifest: Manifest) -> Ledger:
    """Open a ledger whose digest was checked. Raises ``VerificationError`` if it is forged."""
    schema = ledger_schema(manifest.plan.reward_names, manifest.plan.schema_version)
    return Ledger(source, manifest.ledger, schema, f"{store.url}/{manifest.ledger.key}")


def ledger_bytes(store: ObjectStore, manifest: Manifest) -> bytes:
    """Return the bytes of a ledger after checking its digest and its columns.

    Raises ``VerificationError`` for other bytes and for a missing file.
    """
    data = _promised_bytes(store, manifest.ledger)
    open_ledger(data, store, manifest).read_all()
    return data


def _promised_bytes(store: ObjectStore, info: LedgerInfo) -> bytes:
    url = f"{store.url}/{info.key}"
    try:
        data = store.get(info.key, info.num_bytes)
    except ObjectNotFoundError:
        raise VerificationError(f"{url}: missing; `npd repair` makes it again") from None
    except VerificationError:  # larger
        raise VerificationError(_not_promised(url)) from None
    if sha256(data) != info.sha256:
        raise VerificationError(_not_promised(url))
    return data


def _content(ref: ShardRef) -> CheckedBytes:
    if isinstance(ref.store, LocalStore):
        with ref.store.open(ref.info.key) as file:
            return CheckedBytes(file, ref.info, None, ref.url)
    try:
        data = ref.store.get(ref.info.key, ref.info.num_bytes)
    except VerificationError:  # larger
        raise VerificationError(_not_promised(ref.url)) from None
    return CheckedBytes(data, ref.info, None, ref.url)


def _not_promised(url: str) -> str:
    return f"{url}: not the bytes that its manifest promises; `npd repair` makes it again"
