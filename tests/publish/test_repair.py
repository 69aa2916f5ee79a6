"""Each kind of damage is repaired to what was there before, and nothing else is touched."""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.errors import UserError, VerificationError
from pipeline.plan import Plan, PromptTable
from pipeline.publish.compact import WRITERS, compact_in
from pipeline.publish.repair import Recompute, repair
from pipeline.publish.select import select
from pipeline.publish.verify import verify
from pipeline.records import Split
from pipeline.stages.unit import ProducedUnit
from pipeline.storage import layout
from pipeline.storage.manifest import read_success
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.open import open_store
from pipeline.storage.receipts import commit_unit, read_receipt
from pipeline.storage.sealing import success_bytes
from tests.sealed import Built, built_once, manifest_of, receipt_of

Damage = Callable[[Path], None]


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _replace(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


DAMAGES = pytest.mark.parametrize(
    "damage", [_flip, Path.unlink, _truncate], ids=lambda d: d.__name__
)


def _no_model(plan: Plan, prompts: PromptTable, units: Sequence[int]) -> ObjectStore:
    raise AssertionError(f"units {units} were to be computed")


def _recompute(
    store: ObjectStore, produced: Sequence[ProducedUnit], **run: Any
) -> tuple[Recompute, list[int]]:
    """Commits units that were computed before, as a worker would; and which it was asked for."""
    asked: list[int] = []

    def recompute(plan: Plan, prompts: PromptTable, units: Sequence[int]) -> ObjectStore:
        asked.extend(units)
        scratch = open_store(f"{store.url}/{layout.repairs_prefix(plan.plan_id)}")
        for unit in units:
            receipt = receipt_of(plan, unit, produced[unit], attempt_id="again", **run)
            commit_unit(scratch, receipt, produced[unit].data)
        return scratch

    return recompute, asked


def _objects(store: ObjectStore) -> dict[str, bytes]:
    return {info.key: store.get(info.key) for info in store.list("")}


def _repaired(folder: Path, recompute: Recompute = _no_model) -> list[str]:
    """The keys that were made again; the store verifies, and a second repair finds nothing."""
    store = open_store(str(folder))
    keys = list(repair(store, recompute))
    found = verify(store)
    assert (found.problems, found.orphans) == ([], [])
    assert list(repair(store, _no_model)) == []
    return keys


def test_repair_of_what_is_whole_changes_nothing(damaged: Path) -> None:
    before = _objects(open_store(str(damaged)))
    assert _repaired(damaged) == []
    assert _objects(open_store(str(damaged))) == before


@DAMAGES
@pytest.mark.parametrize("shard_format", ["arrow", "webdataset"])
def test_shard(damaged: Path, shard_format: Any, damage: Damage) -> None:
    before = _objects(open_store(str(damaged)))
    key = manifest_of(damaged).shards[Split.TRAIN][shard_format][1].key
    times = {path: path.stat().st_mtime_ns for path in damaged.rglob("*.*") if path.is_file()}
    damage(damaged / key)
    assert _repaired(damaged) == [key]
    assert _objects(open_store(str(damaged))) == before
    written = {path for path, time in times.items() if path.stat().st_mtime_ns != time}
    assert written == {damaged / key}


@DAMAGES
@pytest.mark.parametrize("kind", ["ledger", "manifest", "plan", "prompts"])
def test_what_follows_from_receipts_or_manifest(
    damaged: Path, built: Built, kind: str, damage: Damage
) -> None:
    before = _objects(open_store(str(damaged)))
    plan_id = built.plan.plan_id
    key = {
        "ledger": manifest_of(damaged).ledger.key,
        "manifest": layout.manifest_key(plan_id, 1),
        "plan": layout.plan_key(plan_id),
        "prompts": layout.prompts_key(plan_id),
    }[kind]
    damage(damaged / key)
    if (damaged / key).exists() and kind == "plan" and damage is _truncate:
        return  # the file's last newline, which says nothing
    assert _repaired(damaged) == [key]
    after = _objects(open_store(str(damaged)))
    # Keys in a manifest are sorted, so those of a plan that comes from one are too.
    plans = [json.loads(objects.pop(layout.plan_key(plan_id))) for objects in (before, after)]
    assert plans[0] == plans[1]
    assert after == before


@pytest.mark.parametrize(
    "damage",
    [
        Path.unlink,
        _truncate,
        lambda path: path.write_bytes(b"{}"),
        lambda path: _replace(path, b"v1.json", b"v7.txt"),
        lambda path: path.write_bytes(success_bytes([])),
        lambda path: _set(path, "0" * 64),
    ],
    ids=["deleted", "newline", "empty", "key", "nothing", "digest"],
)
def test_success(damaged: Path, damage: Damage) -> None:
    before = _objects(open_store(str(damaged)))
    path = damaged / layout.SUCCESS_KEY
    damage(path)
    is_readable = damage is _truncate
    assert _repaired(damaged) == ([] if is_readable else [layout.SUCCESS_KEY])
    if not is_readable:
        assert _objects(open_store(str(damaged))) == before


def _set(path: Path, digest: str) -> None:
    success = json.loads(path.read_bytes())
    success["manifests"][0]["sha256"] = digest
    path.write_text(json.dumps(success), encoding="utf-8")


@DAMAGES
def test_unit_object_is_computed_again_and_its_receipt_is_left(
    damaged: Path, built: Built, damage: Damage
) -> None:
    store = open_store(str(damaged))
    before = _objects(store)
    key = read_receipt(store, built.plan.plan_id, 2).data_key
    damage(damaged / key)
    recompute, asked = _recompute(store, built.units)
    assert _repaired(damaged, recompute) == [key]
    assert asked == [2]
    assert _objects(store) == before


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
    before = _objects(store)
    first = read_receipt(store, built.plan.plan_id, 1)
    key = layout.receipt_key(built.plan.plan_id, 1)
    damage(damaged / key)
    recompute, asked = _recompute(store, built.units)
    assert _repaired(damaged, recompute) == [key]
    assert asked == [1]
    after = _objects(store)
    assert {**after, key: b""} == {**before, key: b""}
    again = read_receipt(store, built.plan.plan_id, 1)
    assert again == first.model_copy(update={"attempt_id": "again"})


def test_everything_at_once(damaged: Path, built: Built) -> None:
    """A unit with its receipt, shards in both formats and ``_SUCCESS`` are lost together."""
    store = open_store(str(damaged))
    before = _objects(store)
    manifest = manifest_of(damaged)
    shards = [manifest.shards[Split.TRAIN][name][0].key for name in ("arrow", "webdataset")]
    receipt = layout.receipt_key(built.plan.plan_id, 0)
    unit = read_receipt(store, built.plan.plan_id, 0).data_key
    for key in (*shards, receipt, unit, layout.SUCCESS_KEY):
        (damaged / key).unlink()
    recompute, asked = _recompute(store, built.units)
    keys = _repaired(damaged, recompute)
    assert keys == [layout.SUCCESS_KEY, unit, receipt, *sorted(shards)]
    assert asked == [0]
    assert {**_objects(store), receipt: b""} == {**before, receipt: b""}


def test_manifest_and_shards_of_a_selection_are_made_again(damaged: Path, built: Built) -> None:
    store = open_store(str(damaged))
    made = select(store, {"scene": 0.1}, partial(map, partial(compact_in, store))).manifest
    before = _objects(store)
    (damaged / layout.manifest_key(built.plan.plan_id, 2)).unlink()
    for file in made.files():
        _flip(damaged / file.key)
    assert _repaired(damaged) == [layout.manifest_key(built.plan.plan_id, 2)]
    assert _objects(store) == before


@pytest.mark.parametrize("lost", ["object", "receipt"])
def test_unit_that_is_computed_otherwise_is_refused_and_nothing_is_replaced(
    damaged: Path, built: Built, lost: str
) -> None:
    store = open_store(str(damaged))
    receipt = read_receipt(store, built.plan.plan_id, 3)
    key = receipt.data_key if lost == "object" else layout.receipt_key(built.plan.plan_id, 3)
    (damaged / key).write_bytes(b"rubbish")
    before = _objects(store)
    elsewhere = receipt.fingerprint.model_copy(update={"device": "another device"})
    recompute, _ = _recompute(store, built.units[:3] + built.units[:1], fingerprint=elsewhere)
    with pytest.raises(VerificationError, match="nothing was replaced") as caught:
        list(repair(store, recompute))
    assert receipt.fingerprint.device in str(caught.value)
    assert "another device" in str(caught.value)
    assert receipt.data_sha256 in str(caught.value)
    assert _objects(store) == before, "and what was computed is gone"
    right, _ = _recompute(store, built.units)
    assert _repaired(damaged, right) == [key]


def test_repair_that_breaks_off_can_be_run_again(damaged: Path, built: Built) -> None:
    store = open_store(str(damaged))
    before = _objects(store)
    keys = [read_receipt(store, built.plan.plan_id, unit).data_key for unit in (0, 1)]
    for key in keys:
        _flip(damaged / key)
    recompute, _ = _recompute(store, built.units)
    broken = repair(store, recompute)
    assert next(broken) == keys[0]
    del broken
    recompute, asked = _recompute(store, built.units)
    assert _repaired(damaged, recompute) == keys[1:]
    assert asked == [1]
    assert _objects(store) == before


def test_damage_of_units_needs_the_models(damaged: Path, built: Built) -> None:
    store = open_store(str(damaged))
    _flip(damaged / read_receipt(store, built.plan.plan_id, 2).data_key)
    before = _objects(store)

    def nobody(plan: Plan, prompts: PromptTable, units: Sequence[int]) -> ObjectStore:
        raise UserError("no models here")

    with pytest.raises(UserError, match="no models here"):
        list(repair(store, nobody))
    assert _objects(store) == before


def test_shard_that_cannot_be_made_as_promised_is_refused(
    damaged: Path, built: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As another version of pyarrow would: other bytes for the same rows."""
    store = open_store(str(damaged))
    key = manifest_of(damaged).shards[Split.TRAIN]["arrow"][0].key
    (damaged / key).write_bytes(b"rubbish")

    def otherwise(path: Path, batches: Iterator[pa.RecordBatch], rows_per_batch: int) -> None:
        path.write_bytes(b"otherwise" * len(list(batches)))

    monkeypatch.setitem(WRITERS, "arrow", otherwise)
    with pytest.raises(VerificationError, match=f"{key}: .*stays as it is"):
        list(repair(store, _no_model))
    assert (damaged / key).read_bytes() == b"rubbish"


def test_success_and_manifest_lost_together_is_said(damaged: Path, built: Built) -> None:
    (damaged / layout.SUCCESS_KEY).unlink()
    (damaged / layout.manifest_key(built.plan.plan_id, 1)).write_bytes(b"{}")
    with pytest.raises(VerificationError, match="neither _SUCCESS nor a manifest is whole"):
        list(repair(open_store(str(damaged)), _no_model))


def test_repair_in_any_kind_of_store(
    store: ObjectStore, built: Built, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert built_once(tmp_path_factory.getbasetemp()) is built
    manifest = built.sealed_in(store.url)
    before = _objects(store)
    shard = manifest.shards[Split.TEST]["webdataset"][0].key
    unit = read_receipt(store, built.plan.plan_id, 2).data_key
    store.put(shard, b"rubbish")
    store.delete(unit)
    recompute, _ = _recompute(store, built.units)
    assert list(repair(store, recompute)) == [unit, shard]
    assert _objects(store) == before
    assert read_success(store) is not None
