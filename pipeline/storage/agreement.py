"""Checks of a manifest against itself, where no stored digest covers it.

``_SUCCESS`` promises the bytes of the manifests that it names. A superseded manifest has no such
promise. What it says more than once, or what can be computed from its plan, must then agree.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pipeline.records import Split
from pipeline.storage import layout

if TYPE_CHECKING:
    from pipeline.storage.manifest import Manifest


def contradiction(manifest: "Manifest") -> str | None:
    """Return the first thing in which a manifest disagrees with itself, or None."""
    return next(_contradictions(manifest), None)


def _contradictions(manifest: "Manifest") -> Iterator[str]:
    plan = manifest.plan
    if not manifest.plan_id == plan.plan_id == plan.identity():
        yield "its plan is not the one of its id"
        return
    if manifest.selection.keys() != plan.margins.keys():
        yield f"it selects by {sorted(manifest.selection)}, its plan by {sorted(plan.margins)}"
    yield from _shard_contradictions(manifest)
    ledger, funnel = manifest.ledger, manifest.funnel
    if ledger.key != layout.ledger_key(manifest.plan_id, manifest.version, ledger.sha256):
        yield f"{ledger.key} has the digest {ledger.sha256}"
    if not ledger.num_rows == plan.num_candidates == funnel.candidates:
        yield f"its ledger has {ledger.num_rows} rows, its plan {plan.num_candidates} candidates"
    decided = funnel.kept + sum(funnel.rejected.values()) + sum(funnel.failed.values())
    if decided != funnel.candidates:
        yield f"its funnel counts {decided} of {funnel.candidates} candidates"


def _shard_contradictions(manifest: "Manifest") -> Iterator[str]:
    formats = list(manifest.plan.settings["output"]["formats"])
    if set(manifest.shards) != set(Split):
        yield f"it has the splits {', '.join(sorted(manifest.shards))}"
        return
    kept = 0
    for split, by_format in manifest.shards.items():
        if sorted(by_format) != sorted(formats):
            yield f"split {split} has the formats {sorted(by_format)}, its plan {sorted(formats)}"
            return
        counts = {tuple(shard.num_samples for shard in shards) for shards in by_format.values()}
        if len(counts) != 1:
            yield f"the formats of split {split} hold different numbers of pairs"
            return
        kept += sum(counts.pop())
        for shard_format, shards in by_format.items():
            for index, shard in enumerate(shards):
                if shard.key != layout.shard_key(
                    *(manifest.plan_id, manifest.version, split, index),
                    *(shard.sha256, shard_format),
                ):
                    yield f"{shard.key} is not shard {index} of {split} with {shard.sha256}"
    if kept != manifest.funnel.kept:
        yield f"its shards hold {kept} pairs, its funnel keeps {manifest.funnel.kept}"
