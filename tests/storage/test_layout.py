"""Construction and parsing of object keys."""

import pytest

from pipeline.core.records import Split
from pipeline.storage import layout
from pipeline.storage.layout import Kind, ParsedKey, place_of

PLAN, DIGEST = "0123456789abcdef", "fedcba9876543210" * 4


@pytest.mark.parametrize(
    ("key", "place"),
    [
        (layout.plan_key(PLAN), ParsedKey(kind=Kind.PLAN, plan_id=PLAN)),
        (layout.prompts_key(PLAN), ParsedKey(kind=Kind.PLAN, plan_id=PLAN)),
        (layout.dropped_key(PLAN, DIGEST), ParsedKey(kind=Kind.DROPPED, plan_id=PLAN)),
        (layout.unit_key(PLAN, 12, DIGEST), ParsedKey(kind=Kind.UNIT, plan_id=PLAN, unit=12)),
        (layout.receipt_key(PLAN, 10**9), ParsedKey(kind=Kind.RECEIPT, plan_id=PLAN, unit=10**9)),
        (
            layout.disagreement_key(PLAN, 4, "a1b2"),
            ParsedKey(kind=Kind.DISAGREEMENT, plan_id=PLAN, unit=4),
        ),
        (
            layout.shard_key(PLAN, 3, Split.TEST, 7, DIGEST, "webdataset"),
            ParsedKey(kind=Kind.SHARD, plan_id=PLAN, version=3),
        ),
        (
            layout.shard_key(PLAN, 1, Split.TRAIN, 10**6, DIGEST, "arrow"),
            ParsedKey(kind=Kind.SHARD, plan_id=PLAN, version=1),
        ),
        (
            layout.ledger_key(PLAN, 12, DIGEST),
            ParsedKey(kind=Kind.LEDGER, plan_id=PLAN, version=12),
        ),
        (layout.manifest_key(PLAN, 2), ParsedKey(kind=Kind.MANIFEST, plan_id=PLAN, version=2)),
        (layout.SUCCESS_KEY, ParsedKey(kind=Kind.SUCCESS)),
        (layout.report_key(PLAN, "pairs.png"), ParsedKey(kind=Kind.REPORT, plan_id=PLAN)),
        (f"{layout.repairs_prefix(PLAN)}plans/x", ParsedKey(kind=Kind.REPAIR, plan_id=PLAN)),
        (
            layout.heartbeat_key(PLAN, "0a" * 16),
            ParsedKey(kind=Kind.HEARTBEAT, plan_id=PLAN),
        ),
        (layout.probe_key("x"), ParsedKey(kind=Kind.PROBE)),
    ],
)
def test_place_of_every_key_that_layout_makes(key: str, place: ParsedKey) -> None:
    assert place_of(key) == place


@pytest.mark.parametrize(
    "key",
    [
        "notes.txt",
        "_SUCCESS.bak",
        f"plans/{PLAN}/dropped.parquet",
        f"units/{PLAN}/00000012.arrow",
        f"units/{PLAN}/12-fedcba9876543210.arrow",
        f"receipts/{PLAN}/00000012.json.tmp",
        f"shards/{PLAN}/train-000000-fedcba9876543210.arrow",
        f"shards/{PLAN}/v0/train-000000-fedcba9876543210.arrow",
        f"ledgers/{PLAN}-fedcba9876543210.parquet",
        f"manifests/{PLAN}/v1.json/v1.json",
        f"heartbeats/{PLAN}/mine.json",
    ],
)
def test_place_of_a_strange_key_is_none(key: str) -> None:
    assert place_of(key) is None


@pytest.mark.parametrize(
    "key",
    [
        f"receipts/{PLAN}/000000012.json",
        f"receipts/{PLAN}/٠٠٠٠٠٠١٢.json",
        f"receipts/{PLAN} (copy)/00000012.json",
        f"disagreements/{PLAN}/00000012-a (copy).json",
        f"units/{PLAN}/000000012-fedcba9876543210.arrow",
        f"shards/{PLAN}/v1/other-000000-fedcba9876543210.arrow",
        f"shards/{PLAN}/v1/train-0000000-fedcba9876543210.arrow",
        f"manifests/{PLAN}/v١.json",
        f"plans/{PLAN}\n/plan.json",
    ],
)
def test_place_of_another_spelling_of_a_key_is_none(key: str) -> None:
    assert place_of(key) is None
