"""Consistency checks of a manifest, run at every read; they do not look at its files."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from pipeline.records import Split
from pipeline.storage import layout
from pipeline.storage.layout import ShardFormat
from pipeline.storage.pieces import is_complete

if TYPE_CHECKING:
    from pipeline.storage.manifest import Manifest, ShardInfo


def contradictions(manifest: "Manifest") -> Iterator[str]:
    """Yield a message for each missing entry, wrong key and wrong count of a manifest."""
    plan = manifest.plan
    if manifest.plan_id != plan.plan_id:
        yield f"its plan is {plan.plan_id}"
    try:
        selecting, formats = plan.margins.keys(), set(plan.settings["output"]["formats"])
    except (LookupError, TypeError, ValueError) as error:  # settings are any JSON
        yield f"its plan has no settings that a build writes: {error!r}"
        return
    if manifest.selection.keys() != selecting:
        yield f"its selection has the rewards {_listed(manifest.selection)}"
    if not manifest.latent_shape or min(manifest.latent_shape) < 1:
        yield f"the latent shape is {manifest.latent_shape}"
    yield from _of_counts(manifest)
    faults = [fault for split in Split for fault in _of_split(manifest, split, formats)]
    yield from faults
    if not faults:
        held, kept = sum(map(manifest.num_samples, Split)), manifest.funnel.kept
        if held != kept:
            yield f"its shards hold {held} pairs, and its funnel keeps {kept}"


def _of_counts(manifest: "Manifest") -> Iterator[str]:
    funnel, ledger, wanted = manifest.funnel, manifest.ledger, manifest.plan.num_candidates
    counted = funnel.kept + sum(funnel.rejected.values()) + sum(funnel.failed.values())
    if not counted == funnel.candidates == wanted:
        yield f"its funnel has {funnel.candidates} candidates, and {counted} by what became of them"
    if ledger.num_rows != wanted:
        yield f"its ledger has {ledger.num_rows} rows for {wanted} candidates"
    if ledger.key != layout.ledger_key(manifest.plan_id, manifest.version, ledger.sha256):
        yield f"the key of its ledger is {ledger.key}"


def _of_split(manifest: "Manifest", split: Split, wanted: set[str]) -> Iterator[str]:
    formats = manifest.shards.get(split)
    if formats is None:
        yield f"it has no split {split}"
    elif formats.keys() != wanted:
        has = f"the formats {_listed(formats)}" if formats else "no formats"
        yield f"its split {split} has {has}, and the plan {_listed(wanted)}"
    else:
        for shard_format, shards in formats.items():
            for index, info in enumerate(shards):
                yield from _of_shard(manifest, split, shard_format, index, info)
        if len({tuple(info.num_samples for info in shards) for shards in formats.values()}) > 1:
            yield f"{split}: the shards of the formats {_listed(formats)} hold other counts"


def _of_shard(
    manifest: "Manifest", split: Split, shard_format: ShardFormat, index: int, info: "ShardInfo"
) -> Iterator[str]:
    """Yield faults of a shard. Its index is part of its key, so no file can be named twice."""
    where = f"shard {index} of {split} ({shard_format})"
    key = layout.shard_key(
        manifest.plan_id, manifest.version, split, index, info.sha256, shard_format
    )
    if info.key != key:
        yield f"the key of {where} is {info.key}, not {key}"
    if info.num_samples < 1 or info.num_bytes < 1:
        yield f"{where} has {info.num_samples} pairs in {info.num_bytes} bytes"
    elif info.pieces is not None and not is_complete(info.pieces, info.num_bytes):
        yield f"the digests of its pieces do not cover {where}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
