"""The pairs of a sealed split, one after the other, from shards that are what was promised."""

from collections.abc import Iterator
from dataclasses import replace

from pipeline.diffusion.noise import source_noise, stored
from pipeline.reader.catalog import shard_refs
from pipeline.reader.shards import open_whole, read_pairs
from pipeline.records import Split
from pipeline.storage.manifest import Manifest
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.schema import NoisePair


def sealed_pairs(store: ObjectStore, manifest: Manifest, split: Split) -> Iterator[NoisePair]:
    """All pairs of a split in their order, each with its source noise; one shard in memory.

    Raises ``VerificationError`` for a shard that is not what the manifest promises, and
    ``ObjectNotFoundError`` for one that is gone.
    """
    for ref in shard_refs(store, manifest, split):
        yield from map(_with_source, read_pairs(open_whole(ref), ref.schema))


def _with_source(pair: NoisePair) -> NoisePair:
    if pair.source_noise is not None:
        return pair
    rebuilt = stored(source_noise(pair.seed, pair.golden_noise.shape))
    return replace(pair, source_noise=rebuilt.numpy())
