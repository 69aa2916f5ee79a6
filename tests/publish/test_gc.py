"""Garbage collection: deleted objects, kept objects, and safety for late writers."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.core.identity import sha256
from pipeline.core.records import Split
from pipeline.publish.compact import CompactedShard, ShardTask, compact_in
from pipeline.publish.gc import (
    Amount,
    ReferenceStatus,
    delete_garbage,
    find_garbage,
    find_unreferenced,
)
from pipeline.publish.seal import seal
from pipeline.publish.verify import verify
from pipeline.stages.unit import ProducedUnit
from pipeline.storage import layout
from pipeline.storage.formats.arrow_shard import pack_pairs
from pipeline.storage.formats.pairs import PairSchema
from pipeline.storage.manifest import Manifest
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.open import open_store
from pipeline.storage.receipts import Commit, commit_unit
from pipeline.storage.success import read_manifest, read_success
from tests.sealed import Built, receipt_of

EMPTY = pack_pairs([], PairSchema(latent_shape=(4, 8, 8), reward_names=("scene", "oracle")), 2)


def _collect(store: ObjectStore) -> set[str]:
    """Delete all garbage without a grace period; return what was deleted."""
    found = list(find_garbage(store, older_than=datetime.now(UTC) + timedelta(seconds=1)))
    for each in found:
        assert store.head(each.key) is not None
    amount = delete_garbage(store, found)
    assert amount == Amount(objects=len(found), num_bytes=sum(each.num_bytes for each in found))
    assert all(store.head(each.key) is None for each in found)
    return {each.key for each in found}


def _standings(store: ObjectStore) -> dict[str, ReferenceStatus]:
    return {each.key: each.reference for each in find_unreferenced(store)}


def _other_attempt(built: Built, unit: int) -> tuple[ProducedUnit, str]:
    """Return the result of a non-deterministic worker for a unit, and the key of its object."""
    produced = ProducedUnit(outcomes=built.units[unit].outcomes, data=EMPTY, forward_evaluations=0)
    return produced, layout.unit_key(built.plan.plan_id, unit, sha256(EMPTY))


def _manifest(store: ObjectStore) -> Manifest:
    success = read_success(store)
    assert success is not None
    return read_manifest(store, success.manifests[0])


def test_sealed_set_has_no_strays(store: ObjectStore, built: Built) -> None:
    built.sealed_in(store.url)
    before = [info.key for info in store.list("")]
    assert _standings(store) == {}
    assert _collect(store) == set()
    assert [info.key for info in store.list("")] == before


def test_object_of_the_attempt_that_lost_is_collected(store: ObjectStore, built: Built) -> None:
    built.commit(store)
    lost, key = _other_attempt(built, 1)
    receipt = receipt_of(built.plan, 1, lost, attempt_id="late")
    assert commit_unit(store, receipt, lost.data) is Commit.DIFFERENT
    assert _collect(store) == {key}
    built.seal(store)
    assert verify(store).problems == []


def test_attempts_with_equal_bytes_share_their_object(store: ObjectStore, built: Built) -> None:
    built.commit(store)
    built.commit(store, attempt_id="late")
    assert _collect(store) == set()


def test_objects_of_a_unit_without_receipt_are_pending_however_old(
    store: ObjectStore, built: Built
) -> None:
    built.commit(store, skip=(0, 1))
    lost, key = _other_attempt(built, 0)
    won = receipt_of(built.plan, 0, built.units[0])
    alone = receipt_of(built.plan, 1, built.units[1])
    store.put(key, lost.data)
    store.put(won.data_key, built.units[0].data)
    store.put(alone.data_key, built.units[1].data)
    pending = {key, won.data_key, alone.data_key}
    assert _standings(store) == dict.fromkeys(pending, ReferenceStatus.PENDING)
    assert _collect(store) == set()
    # The slow worker comes back after any number of collections.
    assert commit_unit(store, won, built.units[0].data) is Commit.MINE
    assert _collect(store) == {key}
    assert store.get(won.data_key) == built.units[0].data


def test_worker_that_stalls_between_data_and_receipt_loses_nothing(
    store: ObjectStore, built: Built
) -> None:
    """Its object is collected because another attempt won, and then it goes on."""
    built.commit(store, skip=(2,))
    late, key = _other_attempt(built, 2)
    store.put(key, late.data)
    first = receipt_of(built.plan, 2, built.units[2])
    assert commit_unit(store, first, built.units[2].data) is Commit.MINE
    assert _collect(store) == {key}
    receipt = receipt_of(built.plan, 2, late, attempt_id="late")
    assert commit_unit(store, receipt, late.data) is Commit.DIFFERENT
    assert _collect(store) == {key}
    built.seal(store)
    assert verify(store).problems == []


def test_shards_of_a_version_without_manifest_are_pending(store: ObjectStore, built: Built) -> None:
    """A publisher stalls after its shards: the ones of v1 until it is sealed, those of v2 too."""
    manifest = built.sealed_in(store.url)
    strange = layout.shard_key(built.plan.plan_id, 1, Split.TRAIN, 99, "0" * 64, "arrow")
    next_version = layout.shard_key(built.plan.plan_id, 2, Split.TRAIN, 0, "0" * 64, "webdataset")
    ledger = layout.ledger_key(built.plan.plan_id, 1, "0" * 64)
    for key in (strange, next_version, ledger):
        store.put(key, b"x")
    assert _collect(store) == {strange, ledger}
    assert _standings(store) == {next_version: ReferenceStatus.PENDING}

    key = layout.manifest_key(built.plan.plan_id, 1)
    data = store.get(key)
    store.delete(key)
    assert set(_standings(store).values()) == {ReferenceStatus.PENDING}
    assert _collect(store) == set()
    store.put(key, data)
    assert _manifest(store) == manifest


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"{}",
        lambda data: data.replace(b'"version": 1', b'"version": 2'),
        lambda data: data.replace(b"train-000000-", b"train-000001-", 1),
    ],
    ids=["empty", "version", "key"],
)
def test_damaged_manifest_decides_nothing(
    damaged: Path, built: Built, damage: Callable[[bytes], bytes]
) -> None:
    store = open_store(str(damaged))
    path = damaged / layout.manifest_key(built.plan.plan_id, 1)
    before = path.read_bytes()
    path.write_bytes(damage(before))
    assert path.read_bytes() != before
    assert _collect(store) == set()
    assert ReferenceStatus.PENDING in _standings(store).values()


@pytest.mark.parametrize("damage", [b"{}", b"rubbish"])
def test_damaged_receipt_decides_nothing(damaged: Path, built: Built, damage: bytes) -> None:
    store = open_store(str(damaged))
    lost, key = _other_attempt(built, 1)
    store.put(key, lost.data)
    (damaged / layout.receipt_key(built.plan.plan_id, 1)).write_bytes(damage)
    named = receipt_of(built.plan, 1, built.units[1]).data_key
    assert _standings(store) == dict.fromkeys((key, named), ReferenceStatus.PENDING)
    assert _collect(store) == set()


def test_receipt_that_names_an_object_against_its_own_digest_decides_nothing(
    damaged: Path, built: Built
) -> None:
    store = open_store(str(damaged))
    lost, key = _other_attempt(built, 1)
    store.put(key, lost.data)
    receipt = receipt_of(built.plan, 1, built.units[1])
    path = damaged / layout.receipt_key(built.plan.plan_id, 1)
    path.write_text(path.read_text().replace(receipt.data_key, key), encoding="utf-8")
    assert _collect(store) == set()


def test_probes_leftovers_are_collected_when_they_are_old(store: ObjectStore) -> None:
    store.put(layout.probe_key("x"), b"first")
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    assert list(find_garbage(store, older_than=hour_ago)) == []
    assert _collect(store) == {layout.probe_key("x")}


def test_unknown_keys_are_listed_and_never_deleted(damaged: Path) -> None:
    store = open_store(str(damaged))
    for key in ("notes.txt", "shards/mine.arrow", "zz/deep/er"):
        store.put(key, b"x")
    assert _standings(store) == dict.fromkeys(
        ("notes.txt", "shards/mine.arrow", "zz/deep/er"), ReferenceStatus.UNKNOWN
    )
    assert _collect(store) == set()


def test_plans_of_one_store_are_told_apart(store: ObjectStore, built: Built) -> None:
    """The same unit number of another plan has a receipt; this one has not."""
    built.commit(store, skip=(1,))
    lost, key = _other_attempt(built, 1)
    elsewhere = key.replace(built.plan.plan_id, "f" * 16)
    for each in (key, elsewhere):
        store.put(each, lost.data)
    assert _standings(store) == dict.fromkeys((key, elsewhere), ReferenceStatus.PENDING)


def test_collections_while_shards_are_written_take_garbage_alone(
    store: ObjectStore, built: Built
) -> None:
    built.commit(store)
    lost, key = _other_attempt(built, 0)
    store.put(key, lost.data)
    collected = []

    def compact_and_collect(task: ShardTask) -> CompactedShard:
        shard = compact_in(store, task)
        collected.append(_collect(store))
        return shard

    seal(store, built.plan, built.prompts, lambda tasks: map(compact_and_collect, tasks))
    assert len(collected) > 2 and set().union(*collected) == {key}
    assert verify(store).problems == []
