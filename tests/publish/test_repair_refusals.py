"""Repair rejects objects that cannot be rebuilt with the same bytes and replaces nothing."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.config.plan import Plan
from pipeline.core.errors import UserError, VerificationError
from pipeline.core.records import Split
from pipeline.publish.repair import repair
from pipeline.storage import layout
from pipeline.storage.formats.prompts import PromptTable
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.open import open_store
from pipeline.storage.receipts import read_receipt
from pipeline.storage.sealed_files import WRITERS
from tests.publish.damage import flip
from tests.publish.repairs import no_model, objects_of, recompute_from, repaired
from tests.sealed import Built, manifest_of


@pytest.mark.parametrize("lost", ["object", "receipt"])
def test_unit_that_is_computed_otherwise_is_refused_and_nothing_is_replaced(
    damaged: Path, built: Built, lost: str
) -> None:
    store = open_store(str(damaged))
    receipt = read_receipt(store, built.plan.plan_id, 3)
    key = receipt.data_key if lost == "object" else layout.receipt_key(built.plan.plan_id, 3)
    (damaged / key).write_bytes(b"rubbish")
    before = objects_of(store)
    elsewhere = receipt.fingerprint.model_copy(update={"device": "another device"})
    recompute, _ = recompute_from(store, built.units[:3] + built.units[:1], fingerprint=elsewhere)
    with pytest.raises(VerificationError, match="nothing was replaced") as caught:
        list(repair(store, recompute))
    assert receipt.fingerprint.device in str(caught.value)
    assert "another device" in str(caught.value)
    assert receipt.data_sha256 in str(caught.value)
    assert objects_of(store) == before, "and the recomputed units were removed"
    right, _ = recompute_from(store, built.units)
    assert repaired(damaged, right) == [key]


def test_damage_of_units_needs_the_models(damaged: Path, built: Built) -> None:
    store = open_store(str(damaged))
    flip(damaged / read_receipt(store, built.plan.plan_id, 2).data_key)
    before = objects_of(store)

    def unreachable(plan: Plan, prompts: PromptTable, units: Sequence[int]) -> ObjectStore:
        raise UserError("no models here")

    with pytest.raises(UserError, match="no models here"):
        list(repair(store, unreachable))
    assert objects_of(store) == before


def test_shard_that_cannot_be_made_as_promised_is_refused(
    damaged: Path, built: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Write the same rows as other bytes, as another version of pyarrow would."""
    store = open_store(str(damaged))
    key = manifest_of(damaged).shards[Split.TRAIN]["arrow"][0].key
    (damaged / key).write_bytes(b"rubbish")

    def otherwise(path: Path, batches: Iterator[pa.RecordBatch], rows_per_batch: int) -> None:
        path.write_bytes(b"otherwise" * len(list(batches)))

    monkeypatch.setitem(WRITERS, "arrow", otherwise)
    with pytest.raises(VerificationError, match=f"{key}: .*was not changed"):
        list(repair(store, no_model))
    assert (damaged / key).read_bytes() == b"rubbish"


def test_success_and_manifest_lost_together_is_said(damaged: Path, built: Built) -> None:
    (damaged / layout.SUCCESS_KEY).unlink()
    (damaged / layout.manifest_key(built.plan.plan_id, 1)).write_bytes(b"{}")
    with pytest.raises(VerificationError, match="neither _SUCCESS nor a manifest is intact"):
        list(repair(open_store(str(damaged)), no_model))
