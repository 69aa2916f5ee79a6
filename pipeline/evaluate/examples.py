"""Example pairs of a report, at fixed quantiles of the gain, so that no pair is hand-picked."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, compress

import numpy as np

from pipeline.errors import VerificationError
from pipeline.evaluate.statistics import Values
from pipeline.plan import Plan
from pipeline.records import Split
from pipeline.storage.formats.pairs import NoisePair
from pipeline.storage.manifest import Manifest
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.sealed_files import open_whole, read_ledger, shard_refs

QUANTILES = (0.05, 0.2, 0.4, 0.6, 0.8, 0.95)
"""Quantiles of the gain over all kept pairs; the lowest one is usually a loss."""


@dataclass(frozen=True, kw_only=True)
class ExamplePair:
    """One kept pair and its rank among all kept pairs."""

    pair: NoisePair
    quantile: float
    """Share of the kept pairs with a smaller gain, from 0 to 1."""


def shown_reward(plan: Plan) -> str:
    """Return the name of the reward that ranks the pairs.

    It is the first reward with ``select = false``, or the first reward if all of them select.
    """
    independent = (r["name"] for r in plan.settings["rewards"] if not r["select"])
    return str(next(independent, plan.reward_names[0]))


def example_pairs(store: ObjectStore, manifest: Manifest, reward: str) -> list[ExamplePair]:
    """Return the kept pairs at ``QUANTILES`` of the gain under ``reward``, in that order.

    Reads only the shards that hold them and checks each against its digest. Raises
    ``VerificationError`` if a shard is damaged or does not hold the pair that the ledger names.
    """
    ledger = read_ledger(store, manifest.ledger)
    kept = ledger.kept()
    splits = list(compress(ledger.splits(), kept))
    sample_ids = list(compress(ledger.sample_ids(), kept))
    places = _places_in_split(splits)
    golden, source = ledger.golden_rewards()[reward], ledger.source_rewards()[reward]
    gains = golden[kept].astype(np.float64) - source[kept]
    examples = []
    for quantile, index in _at_quantiles(gains):
        pair = _read_pair(store, manifest, splits[index], places[index])
        if pair.sample_id != sample_ids[index]:
            raise VerificationError(
                f"{store.url}: the ledger names {sample_ids[index]} where the shards of "
                f"{splits[index]} hold {pair.sample_id}; run `npd verify`"
            )
        examples.append(ExamplePair(pair=pair, quantile=quantile))
    return examples


def _places_in_split(splits: Sequence[Split]) -> list[int]:
    """Return for each row the number of earlier rows of the same split."""
    # Shards hold a split's pairs in ledger order, so this number finds the pair in the shards.
    seen: Counter[Split] = Counter()
    places = []
    for split in splits:
        places.append(seen[split])
        seen[split] += 1
    return places


def _at_quantiles(gains: Values) -> list[tuple[float, int]]:
    """Pair each quantile with the index of the nearest gain from below, ignoring NaN."""
    # argsort puts NaN last.
    order = np.argsort(gains, kind="stable")[: int(np.isfinite(gains).sum())]
    return [(q, int(order[int(q * (len(order) - 1))])) for q in QUANTILES] if len(order) else []


def _read_pair(store: ObjectStore, manifest: Manifest, split: Split, place: int) -> NoisePair:
    """Read the pair at position ``place`` of a split, counted across its shards."""
    shards = shard_refs(store, manifest, split)
    ends = list(accumulate(shard.info.num_samples for shard in shards))
    index = bisect_right(ends, place)
    row = place - (ends[index - 1] if index else 0)
    shard = shards[index]
    return open_whole(shard).pair(row)
