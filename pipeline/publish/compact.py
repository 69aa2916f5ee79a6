"""Compaction: pairs of consecutive unit objects are written into one shard.

The assignment of pairs to shards is a pure function of the receipts. Pairs keep the plan's order. A
shard is closed when the next pair would raise its payload above the configured size. So shards do
not depend on the machine that compacts them or on timing.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pyarrow as pa

from pipeline.core.errors import VerificationError
from pipeline.core.identity import file_sha256
from pipeline.core.records import Split
from pipeline.storage import layout
from pipeline.storage.durable import scratch_folder
from pipeline.storage.formats.checked_bytes import Pieces, ShardInfo, pieces_of
from pipeline.storage.formats.pairs import PairSchema
from pipeline.storage.layout import ShardFormat
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.open import open_store
from pipeline.storage.parallel import in_parallel
from pipeline.storage.receipts import Receipt, read_unit
from pipeline.storage.sealed_files import WRITERS

_READ_AHEAD_BYTES = 2**26
"""Bytes of unit objects that are held at once, unless one alone is larger."""


@dataclass(frozen=True, kw_only=True)
class UnitRows:
    """Pairs of one unit object that go into one shard."""

    data_key: str
    data_sha256: str
    data_bytes: int
    rows: tuple[int, ...]
    """Row numbers in the unit object, ascending."""


@dataclass(frozen=True, kw_only=True)
class ShardPlan:
    """Content of one shard to write."""

    split: Split
    index: int
    units: tuple[UnitRows, ...]

    @property
    def num_samples(self) -> int:
        """Number of pairs in the shard."""
        return sum(len(unit.rows) for unit in self.units)


@dataclass(frozen=True, kw_only=True)
class ShardTask:
    """Task of writing one shard in one format; it is sent to the machine that writes it."""

    url: str
    plan_id: str
    version: int
    """Version of the manifest that will name the shard."""
    shard: ShardPlan
    format: ShardFormat
    rows_per_batch: int
    schema: PairSchema
    """Columns of the unit objects and of the shard."""
    with_pieces: bool = True
    """True if the manifest holds digests of pieces, as it does since schema version 3."""


@dataclass(frozen=True, kw_only=True)
class CompactedShard:
    """Shard that was written and stored."""

    split: Split
    format: ShardFormat
    info: ShardInfo


@dataclass
class _OpenShard:
    split: Split
    index: int = 0
    num_bytes: int = 0
    units: list[UnitRows] = field(default_factory=list)

    def close(self) -> ShardPlan:
        shard = ShardPlan(split=self.split, index=self.index, units=tuple(self.units))
        self.index, self.num_bytes, self.units = self.index + 1, 0, []
        return shard

    def add(self, receipt: Receipt, row: int, num_bytes: int) -> None:
        self.num_bytes += num_bytes
        # Rows of one unit object are collected, so that it is read once for each shard.
        rows: tuple[int, ...] = (row,)
        if self.units and self.units[-1].data_key == receipt.data_key:
            rows = (*self.units.pop().rows, row)
        self.units.append(
            UnitRows(
                data_key=receipt.data_key,
                data_sha256=receipt.data_sha256,
                data_bytes=receipt.data_bytes,
                rows=rows,
            )
        )


def plan_shards(receipts: Iterable[Receipt], shard_bytes: int) -> Iterator[ShardPlan]:
    """Yield shards of at most ``shard_bytes`` of payload; a larger pair gets a separate shard.

    A shard is yielded as soon as it is closed. The last, smaller ones follow at the end.
    """
    open_shards = {split: _OpenShard(split) for split in Split}
    for receipt in receipts:
        for row, outcome in enumerate(receipt.stored()):
            # Row numbers count rejected pairs too, which a plan may store for later selections.
            if not outcome.in_shards:
                continue
            shard = open_shards[outcome.split]
            if shard.units and shard.num_bytes + outcome.num_bytes > shard_bytes:
                yield shard.close()
            shard.add(receipt, row, outcome.num_bytes)
    for shard in open_shards.values():
        if shard.units:
            yield shard.close()


def compact(task: ShardTask) -> CompactedShard:
    """Open the store that the task names and run ``compact_in``."""
    return compact_in(open_store(task.url), task)


def compact_in(
    store: ObjectStore, task: ShardTask, *, overwrite_damaged: bool = False
) -> CompactedShard:
    """Write a shard and store it under its content-addressed key; repeating it is harmless.

    Raises ``VerificationError`` for a unit object that differs from its receipt's digest, and for
    other bytes under the shard's key unless ``overwrite_damaged`` is set.
    """
    with scratch_folder("npd-shard-") as folder:
        path = folder / "shard"
        WRITERS[task.format](path, _rows(store, task), task.rows_per_batch)
        digest = file_sha256(path)
        key = layout.shard_key(
            task.plan_id, task.version, task.shard.split, task.shard.index, digest, task.format
        )
        put_content_addressed(store, key, path, overwrite_damaged=overwrite_damaged)
        info = ShardInfo(
            key=key,
            sha256=digest,
            num_samples=task.shard.num_samples,
            num_bytes=path.stat().st_size,
            pieces=_pieces(path) if task.with_pieces else None,
        )
    return CompactedShard(split=task.shard.split, format=task.format, info=info)


def _pieces(path: Path) -> Pieces:
    with path.open("rb") as file:
        return pieces_of(file)


def put_content_addressed(
    store: ObjectStore, key: str, path: Path, *, overwrite_damaged: bool = False
) -> None:
    """Store a file under its content-addressed key, where any other bytes are damage.

    Damage raises ``VerificationError``, or is replaced with ``overwrite_damaged``.
    """
    if store.put_file_if_absent(key, path):
        return
    # The key is the digest of the file, so bytes that differ cannot be another valid object.
    if overwrite_damaged:
        store.delete(key)
    if not overwrite_damaged or not store.put_file_if_absent(key, path):
        raise VerificationError(f"{store.url}/{key}: damaged; `npd repair` makes it again")


def _rows(store: ObjectStore, task: ShardTask) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a shard. Several units are read at once if they are small."""
    largest = max(unit.data_bytes for unit in task.shard.units)
    # ``in_parallel`` holds two results for each thread.
    at_once = max(1, min(store.parallel_requests, _READ_AHEAD_BYTES // max(2 * largest, 1)))
    read = partial(_rows_of_unit, store, task.schema)
    for batches in in_parallel(read, task.shard.units, at_once):
        yield from batches


def _rows_of_unit(store: ObjectStore, schema: PairSchema, unit: UnitRows) -> list[pa.RecordBatch]:
    table = read_unit(store, unit.data_key, unit.data_sha256, unit.data_bytes, schema)
    if unit.rows[-1] >= len(table):
        raise VerificationError(
            f"{store.url}/{unit.data_key}: {len(table)} pairs, and its receipt promises more"
        )
    first, count = unit.rows[0], len(unit.rows)
    if unit.rows == tuple(range(first, first + count)):
        rows = table.slice(first, count)
    else:
        rows = table.take(list(unit.rows))
    # Batches of a unit object and of a shard differ in size, so the writer cuts them anew.
    batches: list[pa.RecordBatch] = rows.to_batches()
    return batches
