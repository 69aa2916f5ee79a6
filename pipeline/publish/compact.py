"""Unit objects, in order, into one shard."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pyarrow as pa

from pipeline.errors import VerificationError
from pipeline.identity import file_sha256, sha256
from pipeline.publish.shard_plan import Piece, ShardPlan
from pipeline.publish.webdataset_shard import write_tar
from pipeline.records import Split
from pipeline.stages.pack import write_batches
from pipeline.storage import layout
from pipeline.storage.layout import ShardFormat
from pipeline.storage.manifest import ShardInfo
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.open import open_store
from pipeline.storage.pieces import Pieces, pieces_of
from pipeline.storage.scratch import scratch_folder


@dataclass(frozen=True, kw_only=True)
class ShardTask:
    """One shard to write in one format; travels to whichever machine writes it."""

    url: str
    plan_id: str
    version: int
    """Of the manifest that will name it."""
    shard: ShardPlan
    format: ShardFormat
    rows_per_batch: int
    with_pieces: bool = True
    """Whether the manifest has the digests of its pieces: since version 3 it does."""


@dataclass(frozen=True, kw_only=True)
class CompactedShard:
    """One shard that is in the store."""

    split: Split
    format: ShardFormat
    info: ShardInfo


def compact(task: ShardTask) -> CompactedShard:
    """``compact_in`` the store that the task names, for whichever machine gets the task."""
    return compact_in(open_store(task.url), task)


def compact_in(
    store: ObjectStore, task: ShardTask, *, overwrite_damaged: bool = False
) -> CompactedShard:
    """Write a shard and store it under the name of its content; to do it twice is harmless.

    Raises ``VerificationError`` for a unit object that is not what its receipt promises, and, but
    with ``overwrite_damaged``, for other bytes under the name of the shard's content.
    """
    with scratch_folder("npd-shard-") as folder:
        path = folder / "shard"
        WRITERS[task.format](path, _rows(store, task.shard), task.rows_per_batch)
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
    """Store a file under the name of its content, where other bytes are damage.

    Raises ``VerificationError`` for them, or, with ``overwrite_damaged``, replaces them.
    """
    if store.put_file_if_absent(key, path):
        return
    if overwrite_damaged:
        store.delete(key)
    if not overwrite_damaged or not store.put_file_if_absent(key, path):
        raise VerificationError(f"{store.url}/{key}: damaged; `npd repair` makes it again")


def read_unit(store: ObjectStore, data_key: str, data_sha256: str) -> pa.Table:
    """A unit object, checked against its receipt. Raises ``VerificationError``."""
    data = store.get(data_key)
    if sha256(data) != data_sha256:
        raise VerificationError(f"{store.url}/{data_key}: not the bytes that its receipt promises")
    return pa.ipc.open_file(pa.BufferReader(data)).read_all()


def _rows(store: ObjectStore, shard: ShardPlan) -> Iterator[pa.RecordBatch]:
    for piece in shard.pieces:
        yield from _piece(store, piece)


def _piece(store: ObjectStore, piece: Piece) -> list[pa.RecordBatch]:
    table = read_unit(store, piece.data_key, piece.data_sha256)
    batches: list[pa.RecordBatch] = table.take(list(piece.rows)).combine_chunks().to_batches()
    return batches


def _write_arrow(path: Path, batches: Iterator[pa.RecordBatch], rows_per_batch: int) -> None:
    first = next(batches)  # a shard is never empty
    with path.open("wb") as file:
        write_batches(file, first.schema, chain([first], batches), rows_per_batch)


def _write_webdataset(path: Path, batches: Iterator[pa.RecordBatch], rows_per_batch: int) -> None:
    with path.open("wb") as file:
        write_tar(file, batches)


WRITERS: dict[ShardFormat, Callable[[Path, Iterator[pa.RecordBatch], int], None]] = {
    "arrow": _write_arrow,
    "webdataset": _write_webdataset,
}
"""How each format is written: into a file, from batches, with so many rows in a batch."""
