"""Where everything lies in a store: the one place that knows keys.

plans/<plan_id>/plan.json, prompts.parquet
units/<plan_id>/<unit>-<sha256[:16]>.arrow         what a worker computed
receipts/<plan_id>/<unit>.json                     the commit point of a unit
shards/<plan_id>/<split>-<index>-<sha256[:16]>.{arrow,tar}
ledgers/<plan_id>-<sha256[:16]>.parquet            all candidates with their scores
manifests/<plan_id>/v<n>.json                      what readers see
_SUCCESS                                           the sealed manifests' keys and digests
reports/<plan_id>/...                              pictures and figures; may be made anew
"""

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


def unit_key(plan_id: str, unit: int, digest: str) -> str:
    """A unit's kept pairs, named by content."""
    return f"units/{plan_id}/{unit:08d}-{short(digest)}.arrow"


def receipts_prefix(plan_id: str) -> str:
    """All receipts of a plan."""
    return f"receipts/{plan_id}/"


def receipt_key(plan_id: str, unit: int) -> str:
    """The receipt that commits a unit."""
    return f"{receipts_prefix(plan_id)}{unit:08d}.json"


def unit_of_receipt(key: str) -> int:
    """The unit number in a receipt's key."""
    return int(key.rpartition("/")[2].removesuffix(".json"))


def shard_key(plan_id: str, split: Split, index: int, digest: str, shard: ShardFormat) -> str:
    """A shard, named by content."""
    return f"shards/{plan_id}/{split.value}-{index:06d}-{short(digest)}.{SUFFIXES[shard]}"


def ledger_key(plan_id: str, digest: str) -> str:
    """The Parquet file of all candidates, named by content."""
    return f"ledgers/{plan_id}-{short(digest)}.parquet"


def manifest_key(plan_id: str, version: int) -> str:
    """A manifest version."""
    return f"manifests/{plan_id}/v{version}.json"


def report_key(plan_id: str, name: str) -> str:
    """Something made from a sealed data set for people to look at."""
    return f"reports/{plan_id}/{name}"
