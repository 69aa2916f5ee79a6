"""Object keys of a store. No other module knows these names.

plans/<plan_id>/plan.json, prompts.parquet
plans/<plan_id>/dropped-<sha256[:16]>.parquet     prompts that were dropped, with the reason of each
units/<plan_id>/<unit>-<sha256[:16]>.arrow         pairs that a worker computed
receipts/<plan_id>/<unit>.json                     the commit point of a unit
disagreements/<plan_id>/<unit>-<attempt>.json      receipts of late attempts with other results
shards/<plan_id>/v<n>/<split>-<index>-<sha256[:16]>.{arrow,tar}
ledgers/<plan_id>/v<n>-<sha256[:16]>.parquet       all candidates with their scores
manifests/<plan_id>/v<n>.json                      shards and ledger of v<n>; readers start here
manifests/<plan_id>/v<n>.removed.json              a record that v<n> was removed on purpose
_SUCCESS                                           keys and digests of the sealed manifests
reports/<plan_id>/...                              reports (can be made again), controls
reports/<plan_id>/runs/<build>.json                sums over the units of each worker of a build
repairs/<plan_id>/...                              temporary store of recomputed units
heartbeats/<plan_id>/<build>.json                  signs of life of builds; nothing refers to them
.probe/<random>                                    temporary objects of the probe
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from pipeline.core.identity import short
from pipeline.core.records import Split
from pipeline.storage.object_store import is_key

SUCCESS_KEY = "_SUCCESS"

ShardFormat = Literal["arrow", "webdataset"]
SUFFIXES: dict[ShardFormat, str] = {"arrow": "arrow", "webdataset": "tar"}


def plan_key(plan_id: str) -> str:
    """Return the key of a plan."""
    return f"plans/{plan_id}/plan.json"


def prompts_key(plan_id: str) -> str:
    """Return the key of a plan's distinct prompts."""
    return f"plans/{plan_id}/prompts.parquet"


def dropped_key(plan_id: str, digest: str) -> str:
    """Return the content-addressed key of the list of dropped prompts."""
    return f"plans/{plan_id}/dropped-{short(digest)}.parquet"


def unit_prefix(plan_id: str, unit: int) -> str:
    """Return the prefix of a unit's objects: one, or several if attempts computed other bytes."""
    # With eight digits, a listing is in the order of the units.
    return f"units/{plan_id}/{unit:08d}-"


def unit_key(plan_id: str, unit: int, digest: str) -> str:
    """Return the content-addressed key of a unit's stored pairs."""
    return f"{unit_prefix(plan_id, unit)}{short(digest)}.arrow"


def receipts_prefix(plan_id: str) -> str:
    """Return the prefix of a plan's receipts."""
    return f"receipts/{plan_id}/"


def receipt_key(plan_id: str, unit: int) -> str:
    """Return the key of the receipt that commits a unit."""
    return f"{receipts_prefix(plan_id)}{unit:08d}.json"


def disagreements_prefix(plan_id: str) -> str:
    """Return the prefix of a plan's disagreements."""
    return f"disagreements/{plan_id}/"


def disagreement_key(plan_id: str, unit: int, attempt_id: str) -> str:
    """Return the key of the receipt of a late attempt that computed another result."""
    return f"{disagreements_prefix(plan_id)}{unit:08d}-{attempt_id}.json"


def shard_key(
    plan_id: str, version: int, split: Split, index: int, digest: str, shard: ShardFormat
) -> str:
    """Return the content-addressed key of a shard of a manifest version."""
    name = f"{split.value}-{index:06d}-{short(digest)}.{SUFFIXES[shard]}"
    return f"{shards_prefix(plan_id, version)}{name}"


def ledger_key(plan_id: str, version: int, digest: str) -> str:
    """Return the content-addressed key of the ledger of a manifest version."""
    return f"{ledgers_prefix(plan_id, version)}{short(digest)}.parquet"


def manifests_prefix(plan_id: str) -> str:
    """Return the prefix of a plan's manifests and removals."""
    return f"manifests/{plan_id}/"


def manifest_key(plan_id: str, version: int) -> str:
    """Return the key of a manifest version."""
    return f"{manifests_prefix(plan_id)}v{version}.json"


def removal_key(plan_id: str, version: int) -> str:
    """Return the key of the record that a manifest version was removed."""
    return f"{manifests_prefix(plan_id)}v{version}.removed.json"


def shards_prefix(plan_id: str, version: int) -> str:
    """Return the prefix of the shards of a manifest version."""
    return f"shards/{plan_id}/v{version}/"


def ledgers_prefix(plan_id: str, version: int) -> str:
    """Return the prefix of a version's ledgers: one, unless a publisher was interrupted."""
    return f"ledgers/{plan_id}/v{version}-"


def report_key(plan_id: str, name: str) -> str:
    """Return the key of a report file about a sealed data set."""
    return f"reports/{plan_id}/{name}"


def run_sums_prefix(plan_id: str) -> str:
    """Return the prefix of the sums of a plan's builds."""
    return report_key(plan_id, "runs/")


def run_sums_key(plan_id: str, build_id: str) -> str:
    """Return the key of the sums that one run of ``npd build`` overwrites."""
    return f"{run_sums_prefix(plan_id)}{build_id}.json"


def repairs_prefix(plan_id: str) -> str:
    """Return the prefix of the temporary store in which damaged units are recomputed."""
    return f"repairs/{plan_id}/"


def heartbeats_prefix(plan_id: str) -> str:
    """Return the prefix of the heartbeats of a plan's builds."""
    return f"heartbeats/{plan_id}/"


def heartbeat_key(plan_id: str, build_id: str) -> str:
    """Return the key that one run of ``npd build`` overwrites while it lives."""
    return f"{heartbeats_prefix(plan_id)}{build_id}.json"


def probe_key(name: str) -> str:
    """Return the key of a temporary object of the probe."""
    return f".probe/{name}"


class Kind(StrEnum):
    """Kind of an object, derived from its key."""

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
    HEARTBEAT = "heartbeat"
    PROBE = "probe"


@dataclass(frozen=True, kw_only=True)
class ParsedKey:
    """Fields of a parsed key."""

    kind: Kind
    plan_id: str = ""
    """Plan of the object; empty if it belongs to no plan."""
    unit: int | None = None
    """Unit number; set for unit objects, receipts and disagreements."""
    version: int | None = None
    """Manifest version; set for manifests, removals, shards and ledgers."""


# Each pattern matches exactly the keys that the functions above return, so that a key has one
# meaning. ``[0-9]`` excludes the non-ASCII digits of ``\d``, and numbers have no second spelling.
_PLAN = r"(?P<plan_id>[0-9A-Za-z_-]+)"
_UNIT = r"(?P<unit>[0-9]{8}|[1-9][0-9]{8,})"
_VERSION = r"v(?P<version>[1-9][0-9]*)"
_SHARD = rf"({'|'.join(Split)})-([0-9]{{6}}|[1-9][0-9]{{6,}})"
_ATTEMPT = "[0-9A-Za-z_-]+"
# The first 16 digits of a digest. Receipts, plans and manifests hold the complete one.
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
    Kind.HEARTBEAT: re.compile(rf"heartbeats/{_PLAN}/[0-9a-f]{{32}}\.json"),
    Kind.PROBE: re.compile(r"\.probe/.+"),
}


def place_of(key: str) -> ParsedKey | None:
    """Parse a key; return None for a key that this module does not produce."""
    if not is_key(key):
        return None
    # The patterns exclude each other, so their order does not matter.
    for kind, pattern in _PATTERNS.items():
        # With ``match``, ``plan.json.bak`` would count as a plan.
        if match := pattern.fullmatch(key):
            found = match.groupdict()
            return ParsedKey(
                kind=kind,
                plan_id=found.get("plan_id", ""),
                unit=_number(found.get("unit")),
                version=_number(found.get("version")),
            )
    return None


def unit_of_receipt(plan_id: str, key: str) -> int | None:
    """Return the unit of a receipt of a plan; None for any other key.

    Faster than ``place_of``, for listings of a million receipts.
    """
    match = _PATTERNS[Kind.RECEIPT].fullmatch(key)
    return int(match["unit"]) if match and match["plan_id"] == plan_id else None


def _number(digits: str | None) -> int | None:
    return None if digits is None else int(digits)
