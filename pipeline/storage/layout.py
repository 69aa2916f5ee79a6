"""Where everything lies in a store: the one place that knows keys.

plans/<plan_id>/plan.json, prompts.parquet
plans/<plan_id>/dropped-<sha256[:16]>.parquet     prompts that were dropped, with the reason of each
units/<plan_id>/<unit>-<sha256[:16]>.arrow         what a worker computed
receipts/<plan_id>/<unit>.json                     the commit point of a unit
disagreements/<plan_id>/<unit>-<attempt>.json      receipts of attempts that lost and differ
shards/<plan_id>/v<n>/<split>-<index>-<sha256[:16]>.{arrow,tar}
ledgers/<plan_id>/v<n>-<sha256[:16]>.parquet       all candidates with their scores
manifests/<plan_id>/v<n>.json                      what readers see: shards and ledger of v<n>
manifests/<plan_id>/v<n>.removed.json              a record that v<n> was removed on purpose
_SUCCESS                                           the sealed manifests' keys and digests
reports/<plan_id>/...                              pictures and figures; may be made anew
repairs/<plan_id>/...                              a store of units computed again, for a while
.probe/<random>                                    the probe's, for a moment
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from pipeline.identity import short
from pipeline.records import Split

SUCCESS_KEY = "_SUCCESS"

ShardFormat = Literal["arrow", "webdataset"]
SUFFIXES: dict[ShardFormat, str] = {"arrow": "arrow", "webdataset": "tar"}


def plan_key(plan_id: str) -> str:
    """The plan itself."""
    return f"plans/{plan_id}/plan.json"


def prompts_key(plan_id: str) -> str:
    """The plan's distinct prompts."""
    return f"plans/{plan_id}/prompts.parquet"


def dropped_key(plan_id: str, digest: str) -> str:
    """The list of prompts that were dropped, named by content."""
    return f"plans/{plan_id}/dropped-{short(digest)}.parquet"


def unit_prefix(plan_id: str, unit: int) -> str:
    """All objects of a unit: one, but for attempts that differ."""
    return f"units/{plan_id}/{unit:08d}-"


def unit_key(plan_id: str, unit: int, digest: str) -> str:
    """A unit's stored pairs, named by content."""
    return f"{unit_prefix(plan_id, unit)}{short(digest)}.arrow"


def receipts_prefix(plan_id: str) -> str:
    """All receipts of a plan."""
    return f"receipts/{plan_id}/"


def receipt_key(plan_id: str, unit: int) -> str:
    """The receipt that commits a unit."""
    return f"{receipts_prefix(plan_id)}{unit:08d}.json"


def disagreements_prefix(plan_id: str) -> str:
    """All disagreements of a plan."""
    return f"disagreements/{plan_id}/"


def disagreement_key(plan_id: str, unit: int, attempt_id: str) -> str:
    """The receipt of an attempt that came second and computed something else."""
    return f"{disagreements_prefix(plan_id)}{unit:08d}-{attempt_id}.json"


def shard_key(
    plan_id: str, version: int, split: Split, index: int, digest: str, shard: ShardFormat
) -> str:
    """A shard of a manifest version, named by content."""
    name = f"{split.value}-{index:06d}-{short(digest)}.{SUFFIXES[shard]}"
    return f"{shards_prefix(plan_id, version)}{name}"


def ledger_key(plan_id: str, version: int, digest: str) -> str:
    """The Parquet file of all candidates of a manifest version, named by content."""
    return f"{ledgers_prefix(plan_id, version)}{short(digest)}.parquet"


def manifests_prefix(plan_id: str) -> str:
    """All manifest versions of a plan."""
    return f"manifests/{plan_id}/"


def manifest_key(plan_id: str, version: int) -> str:
    """A manifest version."""
    return f"{manifests_prefix(plan_id)}v{version}.json"


def removal_key(plan_id: str, version: int) -> str:
    """The record that a manifest version was removed."""
    return f"{manifests_prefix(plan_id)}v{version}.removed.json"


def shards_prefix(plan_id: str, version: int) -> str:
    """All shards of a manifest version."""
    return f"shards/{plan_id}/v{version}/"


def ledgers_prefix(plan_id: str, version: int) -> str:
    """All ledgers of a manifest version: one, unless a publisher stopped halfway."""
    return f"ledgers/{plan_id}/v{version}-"


def report_key(plan_id: str, name: str) -> str:
    """Something made from a sealed data set for people to look at."""
    return f"reports/{plan_id}/{name}"


def repairs_prefix(plan_id: str) -> str:
    """Where damaged units are computed again before they are put in place: a store of its own."""
    return f"repairs/{plan_id}/"


def probe_key(name: str) -> str:
    """Something that the probe writes for a moment."""
    return f".probe/{name}"


class Kind(StrEnum):
    """What an object is, which its key tells."""

    PLAN = "plan"
    DROPPED = "dropped prompts"
    UNIT = "unit object"
    RECEIPT = "receipt"
    DISAGREEMENT = "disagreement"
    SHARD = "shard"
    LEDGER = "ledger"
    MANIFEST = "manifest"
    REMOVAL = "removal"
    SUCCESS = "success"
    REPORT = "report"
    REPAIR = "repair"
    PROBE = "probe"


@dataclass(frozen=True, kw_only=True)
class ParsedKey:
    """What a key says of its object."""

    kind: Kind
    plan_id: str = ""
    """Empty where the object belongs to no plan."""
    unit: int | None = None
    """Of unit objects, receipts and disagreements."""
    version: int | None = None
    """Of manifests and removals, and of the shards and ledgers that lie under one."""


# Each pattern matches what the functions above return and nothing else, so that a key has one
# reading: no digits but ASCII's, which ``\d`` does not mean, and no second spelling of a number.
_PLAN = r"(?P<plan_id>[0-9A-Za-z_-]+)"
_UNIT = r"(?P<unit>[0-9]{8}|[1-9][0-9]{8,})"
_VERSION = r"v(?P<version>[1-9][0-9]*)"
_SHARD = rf"({'|'.join(Split)})-([0-9]{{6}}|[1-9][0-9]{{6,}})"
_ATTEMPT = "[0-9A-Za-z_-]+"
_SHA = "[0-9a-f]{16}"

_PATTERNS = {
    Kind.PLAN: re.compile(rf"plans/{_PLAN}/(plan\.json|prompts\.parquet)"),
    Kind.DROPPED: re.compile(rf"plans/{_PLAN}/dropped-{_SHA}\.parquet"),
    Kind.UNIT: re.compile(rf"units/{_PLAN}/{_UNIT}-{_SHA}\.arrow"),
    Kind.RECEIPT: re.compile(rf"receipts/{_PLAN}/{_UNIT}\.json"),
    Kind.DISAGREEMENT: re.compile(rf"disagreements/{_PLAN}/{_UNIT}-{_ATTEMPT}\.json"),
    Kind.SHARD: re.compile(rf"shards/{_PLAN}/{_VERSION}/{_SHARD}-{_SHA}\.(arrow|tar)"),
    Kind.LEDGER: re.compile(rf"ledgers/{_PLAN}/{_VERSION}-{_SHA}\.parquet"),
    Kind.MANIFEST: re.compile(rf"manifests/{_PLAN}/{_VERSION}\.json"),
    Kind.REMOVAL: re.compile(rf"manifests/{_PLAN}/{_VERSION}\.removed\.json"),
    Kind.SUCCESS: re.compile(SUCCESS_KEY),
    Kind.REPORT: re.compile(rf"reports/{_PLAN}/.+"),
    Kind.REPAIR: re.compile(rf"repairs/{_PLAN}/.+"),
    Kind.PROBE: re.compile(r"\.probe/.+"),
}


def place_of(key: str) -> ParsedKey | None:
    """What a key says of its object; None for a key that is none of this module's."""
    for kind, pattern in _PATTERNS.items():
        if match := pattern.fullmatch(key):
            found = match.groupdict()
            return ParsedKey(
                kind=kind,
                plan_id=found.get("plan_id", ""),
                unit=_number(found.get("unit")),
                version=_number(found.get("version")),
            )
    return None


def _number(digits: str | None) -> int | None:
    return None if digits is None else int(digits)
