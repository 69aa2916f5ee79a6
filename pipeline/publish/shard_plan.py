"""Which pairs go into which shard: a pure function of the receipts.

Pairs stand in the plan's order. A shard is closed when the next pair would lift its payload above
the configured size, so shards do not depend on which machine compacts them, or when.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pipeline.records import Split, Status
from pipeline.storage.receipts import Receipt


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Some pairs of one unit object."""

    data_key: str
    data_sha256: str
    rows: tuple[int, ...]
    """Ascending."""


@dataclass(frozen=True, kw_only=True)
class ShardPlan:
    """One shard to be."""

    split: Split
    index: int
    pieces: tuple[Piece, ...]

    @property
    def num_samples(self) -> int:
        """Pairs in the shard."""
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
    """Shards of at most ``shard_bytes`` of payload (a single larger pair gets its own).

    Yields a shard as soon as it is closed and the last, smaller ones at the end.
    """
    open_shards = {split: _OpenShard(split) for split in Split}
    for receipt in receipts:
        for row, outcome in enumerate(receipt.stored()):
            if outcome.status is not Status.KEPT:
                continue
            shard = open_shards[outcome.split]
            if shard.pieces and shard.num_bytes + outcome.num_bytes > shard_bytes:
                yield shard.close()
            shard.add(receipt, row, outcome.num_bytes)
    for shard in open_shards.values():
        if shard.pieces:
            yield shard.close()
