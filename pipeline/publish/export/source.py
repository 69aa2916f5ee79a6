"""Iteration over the pairs of a sealed split, with checked shards."""

from collections.abc import Iterator
from dataclasses import replace

from pipeline.diffusion.noise import source_noise, stored
from pipeline.reader.shard_refs import shard_refs
from pipeline.reader.shards import open_whole, read_pairs
from pipeline.records import Split
from pipeline.storage.manifest import Manifest
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.schema import NoisePair


def sealed_pairs(store: ObjectStore, manifest: Manifest, split: Split) -> Iterator[NoisePair]:
    """Yield all pairs of a split in order, each with source noise; memory holds one shard.

    Raises ``VerificationError`` for a shard that differs from its digest in the manifest, and
    ``ObjectNotFoundError`` for a missing one.
    """
    for ref in shard_refs(store, manifest, split):
        yield from map(_with_source, read_pairs(open_whole(ref), ref.schema))


def _with_source(pair: NoisePair) -> NoisePair:
    if pair.source_noise is not None:
        return pair
    rebuilt = stored(source_noise(pair.seed, pair.golden_noise.shape))
    return replace(pair, source_noise=rebuilt.numpy())
