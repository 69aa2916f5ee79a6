"""Repair of units: recomputed units equal the original ones."""

from pathlib import Path

import pytest

from pipeline.core.records import Split
from pipeline.publish.repair import repair
from pipeline.storage import layout
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.open import open_store
from pipeline.storage.receipts import read_receipt
from pipeline.storage.success import read_success
from tests.publish.damage import DAMAGES, Damage, flip
from tests.publish.repairs import objects_of, recompute_from, repaired
from tests.sealed import Built, built_once, manifest_of


@DAMAGES
def test_unit_object_is_computed_again_and_its_receipt_is_left(
    damaged: Path, built: Built, damage: Damage
) -> None:
    store = open_store(str(damaged))
    before = objects_of(store)
    key = read_receipt(store, built.plan.plan_id, 2).data_key
    damage(damaged / key)
    recompute, asked = recompute_from(store, built.units)
    assert repaired(damaged, recompute) == [key]
    assert asked == [2]
    assert objects_of(store) == before


@pytest.mark.parametrize(
    "damage",
    [
        Path.unlink,
        lambda path: path.write_bytes(b"rubbish"),
        lambda path: path.write_bytes(
            path.read_bytes().replace(b'"truncated":false', b'"truncated":true')
        ),
    ],
    ids=["deleted", "rubbish", "outcomes"],
)
def test_receipt_is_computed_again(damaged: Path, built: Built, damage: Damage) -> None:
    store = open_store(str(damaged))
    before = objects_of(store)
    first = read_receipt(store, built.plan.plan_id, 1)
    key = layout.receipt_key(built.plan.plan_id, 1)
    damage(damaged / key)
    recompute, asked = recompute_from(store, built.units)
    assert repaired(damaged, recompute) == [key]
    assert asked == [1]
    after = objects_of(store)
    assert {**after, key: b""} == {**before, key: b""}
    again = read_receipt(store, built.plan.plan_id, 1)
    assert again == first.model_copy(update={"attempt_id": "again"})


def test_everything_at_once(damaged: Path, built: Built) -> None:
    """A unit with its receipt, shards in both formats and ``_SUCCESS`` are lost together."""
    store = open_store(str(damaged))
    before = objects_of(store)
    manifest = manifest_of(damaged)
    shards = [manifest.shards[Split.TRAIN][name][0].key for name in ("arrow", "webdataset")]
    receipt = layout.receipt_key(built.plan.plan_id, 0)
    unit = read_receipt(store, built.plan.plan_id, 0).data_key
    for key in (*shards, receipt, unit, layout.SUCCESS_KEY):
        (damaged / key).unlink()
    recompute, asked = recompute_from(store, built.units)
    keys = repaired(damaged, recompute)
    assert keys == [layout.SUCCESS_KEY, unit, receipt, *sorted(shards)]
    assert asked == [0]
    assert {**objects_of(store), receipt: b""} == {**before, receipt: b""}


def test_repair_that_breaks_off_can_be_run_again(damaged: Path, built: Built) -> None:
    store = open_store(str(damaged))
    before = objects_of(store)
    keys = [read_receipt(store, built.plan.plan_id, unit).data_key for unit in (0, 1)]
    for key in keys:
        flip(damaged / key)
    recompute, _ = recompute_from(store, built.units)
    broken = repair(store, recompute)
    assert next(broken) == keys[0]
    del broken
    recompute, asked = recompute_from(store, built.units)
    assert repaired(damaged, recompute) == keys[1:]
    assert asked == [1]
    assert objects_of(store) == before


def test_repair_in_any_kind_of_store(
    store: ObjectStore, built: Built, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert built_once(tmp_path_factory.getbasetemp()) is built
    manifest = built.sealed_in(store.url)
    before = objects_of(store)
    shard = manifest.shards[Split.TEST]["webdataset"][0].key
    unit = read_receipt(store, built.plan.plan_id, 2).data_key
    store.put(shard, b"rubbish")
    store.delete(unit)
    recompute, _ = recompute_from(store, built.units)
    assert list(repair(store, recompute)) == [unit, shard]
    assert objects_of(store) == before
    assert read_success(store) is not None
