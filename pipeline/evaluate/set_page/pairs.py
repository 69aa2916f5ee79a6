"""Pairs on the page of a data set: which ones, and their pictures.

Scores and prompts are known without reading any pair. Only the pictures of the chosen pairs are
read: of a sealed set from the pieces of its shards that hold them, of a running build from its unit
objects, within a limit.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from typing import Protocol

import numpy as np

from pipeline.config.plan import Plan
from pipeline.core.errors import VerificationError
from pipeline.core.records import Split
from pipeline.evaluate.compare import Mask
from pipeline.evaluate.pages.pictures import Tile, data_uri, is_small
from pipeline.evaluate.scores import ScoreTable
from pipeline.storage.fetched_bytes import open_in_pieces
from pipeline.storage.formats.pairs import NoisePair, PairSchema
from pipeline.storage.formats.pictures import open_picture, pixels_of
from pipeline.storage.formats.prompts import PromptTable
from pipeline.storage.manifest import Manifest
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.receipts import read_receipt, read_unit
from pipeline.storage.sealed_files import ShardRef, shard_refs

PAIRS = 24
"""Number of pairs in each list: largest gains, largest losses and random."""
_PROMPT_CHARACTERS = 500
_UNIT_BYTES = 1_000_000_000
"""Most bytes of unit objects that are read. They can only be checked as complete files."""


@dataclass(frozen=True, kw_only=True)
class ChosenPairs:
    """Positions of the chosen pairs in the plan. No pair is in two lists."""

    gains: Sequence[int]
    """Kept pairs with the largest gains, largest first."""
    losses: Sequence[int]
    """Kept pairs with the largest losses, largest first."""
    random: Sequence[int]

    def all(self) -> list[int]:
        """Return all chosen positions."""
        return [*self.gains, *self.losses, *self.random]


@dataclass(frozen=True, kw_only=True)
class ShownPair:
    """Pair on the page."""

    prompt: str
    """Prompt, cut off if it is very long."""
    group: str
    """Heading of its list."""
    categories: str
    """Names of its categories, one a line."""
    split: str
    scores: Sequence[tuple[str, str]]
    """Rewards with both scores and the gain."""
    tiles: Sequence[Tile]
    """Both images; empty if they are not stored or were not read."""
    is_small: bool = False


class PairReader(Protocol):
    """Reader of kept pairs by their position in the plan."""

    def read(self, positions: Iterable[int]) -> Iterator[tuple[int, NoisePair]]:
        """Yield pairs in any order. Pairs beyond the limit of the reader are left out."""
        ...


def choose_pairs(scores: ScoreTable, reward: str, kept: Mask, count: int = PAIRS) -> ChosenPairs:
    """Choose ``count`` kept pairs of each kind by the gain under ``reward``."""
    gain = scores.golden[reward] - scores.source[reward]
    positions = np.flatnonzero(kept & np.isfinite(gain))
    order = positions[np.argsort(gain[positions], kind="stable")]
    losses = [int(at) for at in order[:count] if gain[at] < 0]
    gains = [int(at) for at in order[::-1][:count] if gain[at] > 0]
    others = np.setdiff1d(positions, [*losses, *gains])
    # The fixed seed makes a page reproducible.
    drawn = np.random.default_rng(0).permutation(others)[:count]
    return ChosenPairs(gains=gains, losses=losses, random=[int(at) for at in drawn])


def shown_pairs(
    plan: Plan,
    prompts: PromptTable,
    scores: ScoreTable,
    chosen: Mapping[str, Sequence[int]],
    categories: Mapping[str, Sequence[str]],
    reader: PairReader | None,
) -> list[ShownPair]:
    """Return the chosen pairs with their pictures. ``chosen`` maps headings to positions.

    Without a ``reader``, there are no pictures. Raises ``VerificationError`` for damaged pairs.
    """
    wanted = [at for positions in chosen.values() for at in positions]
    tiles: dict[int, tuple[list[Tile], bool]] = {}
    if reader is not None:
        # One pair at a time, of which only the scaled-down pictures stay in memory.
        for at, pair in reader.read(wanted):
            tiles[at] = _tiles(pair, scores.sample_ids[at])
    shown = []
    for group, positions in chosen.items():
        for at in positions:
            prompt = prompts.table["prompt"][at // plan.seeds_per_prompt].as_py()
            pictures, small = tiles.get(at, ([], False))
            shown.append(
                ShownPair(
                    prompt=_cut(prompt),
                    group=group,
                    categories="\n".join(categories.get(prompt, ())),
                    split=str(scores.splits[at]),
                    scores=[
                        (name, _scores(scores.source[name][at], scores.golden[name][at]))
                        for name in plan.reward_names
                    ],
                    tiles=pictures,
                    is_small=small,
                )
            )
    return shown


def _scores(source: float, golden: float) -> str:
    if not (np.isfinite(source) and np.isfinite(golden)):
        return "no score"
    return f"{source:.3f} → {golden:.3f} ({golden - source:+.3f})".replace("-", "−")


def _cut(text: str) -> str:
    return text if len(text) <= _PROMPT_CHARACTERS else f"{text[:_PROMPT_CHARACTERS]} …"


def _tiles(pair: NoisePair, sample_id: str) -> tuple[list[Tile], bool]:
    if sample_id and pair.sample_id != sample_id:
        raise VerificationError(
            f"the ledger names {sample_id} where the shards hold {pair.sample_id}; run `npd verify`"
        )
    tiles, small = [], False
    for name, encoded in (("standard", pair.source_image), ("golden", pair.golden_image)):
        if encoded is not None:
            pixels = pixels_of(open_picture(encoded, pair.sample_id), pair.sample_id)
            small = is_small(pixels)
            alt = f"Image from the {name} noise"
            tiles.append(Tile(name=name, source=data_uri(pixels), alt=alt))
    return tiles, small


@dataclass(frozen=True, kw_only=True)
class SealedPairs:
    """Reader of the pairs of a sealed version."""

    store: ObjectStore
    manifest: Manifest
    scores: ScoreTable

    def read(self, positions: Iterable[int]) -> Iterator[tuple[int, NoisePair]]:
        """Yield the pairs, shard by shard."""
        places = sorted(self._places(positions), key=lambda place: place[:2])
        refs = {split: shard_refs(self.store, self.manifest, split) for split in Split}
        for (split, index), group in groupby(places, key=lambda place: place[:2]):
            columns = open_in_pieces(refs[split][index])
            for _, _, row, position in group:
                yield position, columns.pair(row)

    def _places(self, positions: Iterable[int]) -> Iterator[tuple[Split, int, int, int]]:
        """Yield split, shard, row and position of each pair."""
        wanted = list(positions)
        for split in Split:
            # Shards hold the pairs of a split in the order of the plan.
            order = np.flatnonzero(self.scores.in_shards & (self.scores.splits == split.value))
            ends = _ends(shard_refs(self.store, self.manifest, split))
            for position in wanted:
                if self.scores.splits[position] == split.value:
                    place = int(np.searchsorted(order, position))
                    index = bisect_right(ends, place)
                    if index == len(ends):
                        raise VerificationError(
                            f"{self.store.url}: the ledger lists more pairs of {split} than the "
                            "shards hold; run `npd verify`"
                        )
                    yield split, index, place - (ends[index - 1] if index else 0), position


def _ends(shards: Sequence[ShardRef]) -> list[int]:
    return list(accumulate(shard.info.num_samples for shard in shards))


@dataclass(frozen=True, kw_only=True)
class UnitPairs:
    """Reader of the pairs of a build that is not sealed."""

    store: ObjectStore
    plan: Plan

    def read(self, positions: Iterable[int]) -> Iterator[tuple[int, NoisePair]]:
        """Yield the pairs of as many units as the limit of bytes allows."""
        left = _UNIT_BYTES
        size = self.plan.unit_size
        # Units are taken in the order of the lists, so that the largest gains come first.
        by_unit: dict[int, list[int]] = {}
        for position in positions:
            by_unit.setdefault(position // size, []).append(position)
        for unit, wanted in by_unit.items():
            receipt = read_receipt(self.store, self.plan.plan_id, unit)
            left -= receipt.data_bytes
            if left < 0:
                return
            schema = PairSchema.of_plan(self.plan, receipt.latent_shape)
            rows = read_unit(
                self.store, receipt.data_key, receipt.data_sha256, receipt.data_bytes, schema
            )
            stored = [outcome.candidate for outcome in receipt.stored()]
            if len(stored) != rows.num_rows:
                raise VerificationError(
                    f"{self.store.url}/{receipt.data_key}: {rows.num_rows} pairs, {len(stored)} "
                    "promised"
                )
            for position in wanted:
                row = rows.slice(stored.index(position), 1).combine_chunks()
                yield position, schema.to_pairs(row.to_batches()[0])[0]
