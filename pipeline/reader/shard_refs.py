"""References to the shards of a manifest, in the order in which they are read."""

from dataclasses import dataclass

from pipeline.records import Split
from pipeline.storage.formats.checked_bytes import ShardInfo
from pipeline.storage.layout import ShardFormat
from pipeline.storage.manifest import Manifest
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.schema import PairSchema

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
    fastest = next(name for name in _PREFERRED if name in formats)
    chosen = fastest if shard_format is None else shard_format
    schema = PairSchema(
        latent_shape=tuple(manifest.latent_shape),
        reward_names=tuple(manifest.plan.reward_names),
        schema_version=manifest.plan.schema_version,
    )
    return [
        ShardRef(store=store, info=info, format=chosen, plan_id=manifest.plan_id, schema=schema)
        for info in formats[chosen]
    ]
