"""Manifests: the files and the provenance of one version of a plan.

A manifest names shards and ledger. It depends only on the computed results and contains no times,
hosts or attempt ids. Its consistency is checked at every read, without looking at its files.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from math import prod
from typing import Annotated

from pydantic import Field
from pydantic_core import from_json

from pipeline.config.plan import Plan
from pipeline.core.errors import VerificationError
from pipeline.core.fingerprint import Fingerprint
from pipeline.core.identity import readable_json
from pipeline.core.records import (
    NEWEST_SCHEMA_VERSION,
    OLDEST_SCHEMA_VERSION,
    Outcome,
    Record,
    Split,
    Status,
)
from pipeline.core.validation import explain
from pipeline.storage import layout
from pipeline.storage.formats.checked_bytes import ShardInfo, is_complete
from pipeline.storage.formats.ledger import LedgerInfo
from pipeline.storage.layout import ShardFormat

_READABLE = range(OLDEST_SCHEMA_VERSION, NEWEST_SCHEMA_VERSION + 1)


class Funnel(Record):
    """Counts of candidates. Each candidate is kept, rejected, failed or unjudged."""

    candidates: int
    kept: int
    rejected: dict[str, int]
    """Maps each reason to the number of candidates rejected for it."""
    failed: dict[str, int]
    """Maps each reason to the number of candidates that failed with it."""
    truncated: int
    """Number of candidates, of any status, whose prompt the text encoder truncated."""
    unjudged: Annotated[int, Field(ge=0, exclude_if=lambda count: count == 0)] = 0
    """Number of candidates that are stored without being judged."""
    judged: Annotated[int | None, Field(exclude_if=lambda count: count is None)] = None
    """Number of candidates in the sample that is judged. None if all are judged."""

    @property
    def num_judged(self) -> int:
        """Number of candidates that are judged."""
        return self.candidates if self.judged is None else self.judged

    @property
    def kept_rate(self) -> float:
        """Fraction of the judged candidates that were kept; 0 if there are none."""
        return self.kept / self.num_judged if self.num_judged else 0.0

    @property
    def in_shards(self) -> int:
        """Number of pairs in the data set: kept ones and unjudged ones."""
        return self.kept + self.unjudged


class FunnelCount:
    """Accumulator of outcomes for a ``Funnel`` of a plan."""

    def __init__(self, plan: Plan) -> None:
        self._judges_all = plan.judges_all
        self._judged = 0
        self._statuses: Counter[Status] = Counter()
        self._reasons: dict[Status, Counter[str]] = {
            Status.REJECTED: Counter(),
            Status.FAILED: Counter(),
        }
        self._truncated = 0

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Add some outcomes to the counts."""
        for outcome in outcomes:
            self._statuses[outcome.status] += 1
            self._truncated += outcome.truncated
            self._judged += outcome.judged
            if outcome.reason is not None:
                self._reasons[outcome.status][outcome.reason] += 1

    def total(self) -> Funnel:
        """Return the counts so far."""
        return Funnel(
            candidates=self._statuses.total(),
            kept=self._statuses[Status.KEPT],
            # Sorted, because the order in which reasons occur is not part of the result.
            rejected=dict(sorted(self._reasons[Status.REJECTED].items())),
            failed=dict(sorted(self._reasons[Status.FAILED].items())),
            truncated=self._truncated,
            unjudged=self._statuses[Status.UNJUDGED],
            judged=None if self._judges_all else self._judged,
        )


class Manifest(Record):
    """Files and provenance of one plan in a data set."""

    schema_version: int
    plan_id: str
    version: int
    """Version number, from 1 (the build's); part of the keys of shards and ledger."""
    selection: dict[str, float]
    """Maps each selecting reward to its margin; version 1 has the margins of the plan."""
    plan: Plan
    """Full configuration, with digests in place of paths."""
    fingerprints: list[Fingerprint]
    """Fingerprints of all workers that computed a unit; several on a mixed cluster."""
    latent_shape: list[int]
    """Shape of one noise, without the batch dimension."""
    shards: dict[Split, dict[ShardFormat, list[ShardInfo]]]
    """Shards in order. Shard i of every format of a split holds the same samples."""
    funnel: Funnel
    ledger: LedgerInfo

    def num_samples(self, split: Split) -> int:
        """Return the number of pairs in a split."""
        formats = self.shards[split].values()
        return sum(shard.num_samples for shard in next(iter(formats)))

    def files(self) -> Iterator[ShardInfo | LedgerInfo]:
        """Return all files that this manifest names: shards and ledger."""
        formats = (shards for split in self.shards.values() for shards in split.values())
        return chain(chain.from_iterable(formats), [self.ledger])


def manifest_bytes(manifest: Manifest) -> bytes:
    """Serialize a manifest for storage."""
    return readable_json(manifest.model_dump(mode="json"))


def parse_manifest(where: str, data: bytes) -> Manifest:
    """Parse a manifest of a readable schema version. Raises ``VerificationError``."""
    try:
        # Before the content: a version that this program cannot read may have other fields, and the
        # error should name the version and not a field.
        version = stored_schema_version(data)
        if not isinstance(version, int) or version not in _READABLE:
            raise VerificationError(other_version(where, version))
        return Manifest.model_validate_json(data)
    except ValueError as error:  # also pydantic's
        raise VerificationError(f"{where}: no manifest: {explain(error)}") from None


def stored_schema_version(data: bytes) -> object:
    """Return ``schema_version`` of a JSON object. Raises ``ValueError`` for other JSON."""
    content = from_json(data)  # unlike ``json.loads``, it survives any nesting
    if not isinstance(content, dict):
        raise ValueError(f"a JSON object is expected, not {type(content).__name__}")
    return content.get("schema_version")


def other_version(where: str, version: object) -> str:
    """Return the error message for a file of an unreadable schema version."""
    is_newer = isinstance(version, int) and version > NEWEST_SCHEMA_VERSION
    remedy = "upgrade noise-prompt-dataset" if is_newer else "read it with the one that wrote it"
    return (
        f"{where}: written with schema_version {version}, this reads {OLDEST_SCHEMA_VERSION} to "
        f"{NEWEST_SCHEMA_VERSION}; {remedy}"
    )


def contradictions(manifest: Manifest) -> Iterator[str]:
    """Yield a message for each missing entry, wrong key and wrong count of a manifest."""
    plan = manifest.plan
    if manifest.plan_id != plan.plan_id:
        yield f"its plan is {plan.plan_id}"
    if manifest.schema_version != plan.schema_version:
        yield (
            f"its schema_version is {manifest.schema_version}, and that of its plan "
            f"{plan.schema_version}"
        )
    formats: set[str] = set(plan.settings.output.formats)
    if manifest.selection.keys() != plan.margins.keys():
        yield f"its selection has the rewards {_listed(manifest.selection)}"
    shape = manifest.latent_shape
    # A noise is a list of fixed size in an Arrow file, which has at most so many values.
    if not shape or min(shape) < 1 or prod(shape) >= 2**31:
        yield f"the latent shape is {manifest.latent_shape}"
    yield from _of_counts(manifest)
    # Pairs can be counted only if no split or format is missing.
    faults = [fault for split in Split for fault in _of_split(manifest, split, formats)]
    yield from faults
    if not faults:
        held, counted = sum(map(manifest.num_samples, Split)), manifest.funnel.in_shards
        if held != counted:
            yield f"its shards hold {held} pairs, and its funnel keeps {counted}"


def _of_counts(manifest: Manifest) -> Iterator[str]:
    funnel, ledger, wanted = manifest.funnel, manifest.ledger, manifest.plan.num_candidates
    dropped = sum(funnel.rejected.values()) + sum(funnel.failed.values())
    counted = funnel.in_shards + dropped
    if (funnel.judged is None) != manifest.plan.judges_all:
        yield f"its funnel counts {funnel.judged} judged candidates"
    elif not funnel.kept <= funnel.num_judged <= wanted - funnel.unjudged:
        yield f"its funnel has {funnel.num_judged} judged and {funnel.unjudged} other candidates"
    if not counted == funnel.candidates == wanted:
        yield f"its funnel has {funnel.candidates} candidates, and {counted} by what became of them"
    if ledger.num_rows != wanted:
        yield f"its ledger has {ledger.num_rows} rows for {wanted} candidates"
    if ledger.key != layout.ledger_key(manifest.plan_id, manifest.version, ledger.sha256):
        yield f"the key of its ledger is {ledger.key}"


def _of_split(manifest: Manifest, split: Split, wanted: set[str]) -> Iterator[str]:
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
    manifest: Manifest, split: Split, shard_format: ShardFormat, index: int, info: ShardInfo
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
