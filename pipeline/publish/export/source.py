"""The pairs of a sealed split, one after the other, from shards that are what was promised."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace

from pipeline.diffusion.noise import source_noise, stored
from pipeline.errors import VerificationError
from pipeline.reader.shards import open_shard, read_shard
from pipeline.records import Split
from pipeline.storage.layout import ShardFormat
from pipeline.storage.manifest import Manifest
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.schema import NoisePair

_PREFERRED: tuple[ShardFormat, ...] = ("arrow", "webdataset")
"""Arrow first: it is mapped, not parsed."""


def sealed_pairs(store: ObjectStore, manifest: Manifest, split: Split) -> Iterator[NoisePair]:
    """All pairs of a split in their order, each with its source noise; one shard in memory.

    Raises ``VerificationError`` for a shard that is not what the manifest promises, and
    ``ObjectNotFoundError`` for one that is gone.
    """
    formats = manifest.shards[split]
    shard_format = next(name for name in _PREFERRED if name in formats)
    for shard in formats[shard_format]:
        with open_shard(store, shard.key) as file:
            if hashlib.sha256(file.read_buffer()).hexdigest() != shard.sha256:
                raise VerificationError(
                    f"{store.url}/{shard.key}: not the bytes that its manifest promises; "
                    "`npd repair` makes it again"
                )
            file.seek(0)
            yield from map(_with_source, read_shard(file, shard_format))


def _with_source(pair: NoisePair) -> NoisePair:
    if pair.source_noise is not None:
        return pair
    rebuilt = stored(source_noise(pair.seed, pair.golden_noise.shape))
    return replace(pair, source_noise=rebuilt.numpy())
