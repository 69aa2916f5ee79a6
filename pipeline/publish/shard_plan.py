"""Assignment of pairs to shards, a pure function of the receipts.

Pairs keep the plan's order. A shard is closed when the next pair would raise its payload above the
configured size. So shards do not depend on the machine that compacts them or on timing.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pipeline.records import Split, Status
from pipeline.storage.receipts import Receipt


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Pairs of one unit object that go into one shard."""

    data_key: str
    data_sha256: str
    rows: tuple[int, ...]
    """Row numbers in the unit object, ascending."""


@dataclass(frozen=True, kw_only=True)
class ShardPlan:
    """Content of one shard to write."""

    split: Split
    index: int
    pieces: tuple[Piece, ...]

    @property
    def num_samples(self) -> int:
        """Number of pairs in the shard."""
        return sum(len(piece.rows) for piece in self.pieces)


@dataclass
class _OpenShard:
    split: Split
    index: int = 0
    num_bytes: int = 0
    pieces: list[Piece] = field(default_factory=list)

    def close(self) -> ShardPlan:
        shard = ShardPlan(split=self.split, index=self.index, pieces=tuple(self.pieces))
        self.index, self.num_bytes, self.pieces = self.index + 1, 0, []
        return shard

    def add(self, receipt: Receipt, row: int, num_bytes: int) -> None:
        self.num_bytes += num_bytes
        rows: tuple[int, ...] = (row,)
        if self.pieces and self.pieces[-1].data_key == receipt.data_key:
            rows = (*self.pieces.pop().rows, row)
        self.pieces.append(
            Piece(data_key=receipt.data_key, data_sha256=receipt.data_sha256, rows=rows)
        )


def plan_shards(receipts: Iterable[Receipt], shard_bytes: int) -> Iterator[ShardPlan]:
    """Yield shards of at most ``shard_bytes`` of payload; a larger pair gets a separate shard.

    A shard is yielded as soon as it is closed. The last, smaller ones follow at the end.
    """
    open_shards = {split: _OpenShard(split) for split in Split}
    for receipt in receipts:
        for row, outcome in enumerate(receipt.stored()):
            # Row numbers count rejected pairs too, which a plan may store for later selections.
            if outcome.status is not Status.KEPT:
                continue
            shard = open_shards[outcome.split]
            if shard.pieces and shard.num_bytes + outcome.num_bytes > shard_bytes:
                yield shard.close()
            shard.add(receipt, row, outcome.num_bytes)
    for shard in open_shards.values():
        if shard.pieces:
            yield shard.close()
