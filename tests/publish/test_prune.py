"""Removal of superseded versions: complete or completed later, never of the current version."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pipeline.core.errors import RetryableStoreError, UserError, VerificationError
from pipeline.core.records import Split
from pipeline.publish.gc import ReferenceStatus, delete_garbage, find_garbage, find_unreferenced
from pipeline.publish.prune import Superseded, find_superseded, prune
from pipeline.publish.repair import repair
from pipeline.publish.verify import verify
from pipeline.reader import NoisePairDataset
from pipeline.storage import layout
from pipeline.storage.local import LocalStore
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.success import name_in_success, read_success, sealed_as
from pipeline.workflows.status import status
from tests.sealed import Built
from tests.two_versions import TwoVersions, _two_versions, select_scene, two_versions

__all__ = ["_two_versions", "two_versions"]

PLANS_MARGIN = 0.0


def _files(version: TwoVersions, number: int) -> set[str]:
    """Return all files of a version, found without the code under test."""
    found = (path.relative_to(version.folder).as_posix() for path in version.folder.rglob("*"))
    plan = version.plan_id
    return {
        key
        for key in found
        if key.startswith((f"shards/{plan}/v{number}/", f"ledgers/{plan}/v{number}-"))
        or key == f"manifests/{plan}/v{number}.json"
    }


def _read(store: ObjectStore, version: int | None = None) -> list[str]:
    pairs = NoisePairDataset(store.url, version=version)
    return [sample["sample_id"] for sample in pairs]


def _collect(store: ObjectStore) -> None:
    later = datetime.now(UTC) + timedelta(seconds=1)
    delete_garbage(store, list(find_garbage(store, older_than=later)))


def test_superseded_version_is_removed_and_nothing_else(two_versions: TwoVersions) -> None:
    store = two_versions.store
    before = {info.key: store.get(info.key) for info in store.list("")}
    (found,) = find_superseded(store)
    removed = _files(two_versions, 1)
    assert {info.key for info in found.objects} == removed and len(removed) > 4
    assert prune(store, found) == found.amount
    record = layout.removal_key(two_versions.plan_id, 1)
    after = {info.key: store.get(info.key) for info in store.list("")}
    assert after.pop(record)
    assert after == {key: data for key, data in before.items() if key not in removed}

    assert find_superseded(store) == [] == list(find_unreferenced(store))
    found_now = verify(store)
    assert (found_now.problems, found_now.orphans) == ([], [])
    assert [*repair(store, _no_recompute)] == []
    (plan,) = status(store).plans
    assert [(v.number, v.is_current, v.is_removed) for v in plan.versions] == [
        (1, False, True),
        (2, True, False),
    ]


def _no_recompute(*arguments: Any) -> ObjectStore:
    raise AssertionError("nothing is damaged")


def test_number_of_a_removed_version_never_returns(two_versions: TwoVersions) -> None:
    """After removal of the highest version, the same margins make a version with a new number."""
    store = two_versions.store
    margin = two_versions.second.selection["scene"]
    assert select_scene(store, PLANS_MARGIN).version == 1
    assert find_superseded(store) == [], "a higher version may be about to become current"
    (second,) = find_superseded(store, numbers=[2])
    prune(store, second)
    made = select_scene(store, margin)
    assert made.version == 3
    assert made.funnel == two_versions.second.funnel
    (first,) = find_superseded(store)
    assert first.version.number == 1
    prune(store, first)
    assert select_scene(store, PLANS_MARGIN).version == 4
    assert len(_read(store)) == two_versions.first.num_samples(Split.TRAIN)
    assert verify(store).problems == []


def test_current_version_and_one_that_is_not_there_are_refused(two_versions: TwoVersions) -> None:
    store = two_versions.store
    with pytest.raises(UserError, match=r"version 2 of plan .* is the current one"):
        find_superseded(store, numbers=[1, 2])
    with pytest.raises(UserError, match="has no version 3; there are 1, 2"):
        find_superseded(store, numbers=[3])
    with pytest.raises(UserError, match="no plan 'x' is sealed"):
        find_superseded(store, "x")


class _Dies(LocalStore):
    """Store whose process ends after a number of writes and deletions."""

    def __init__(self, of: TwoVersions, survives: int) -> None:
        super().__init__(of.folder)
        self._left = survives

    def _spend(self) -> None:
        if not self._left:
            raise RetryableStoreError("the process is killed here")
        self._left -= 1

    def put_if_absent(self, key: str, data: bytes) -> bool:
        self._spend()
        return super().put_if_absent(key, data)

    def delete(self, key: str) -> None:
        self._spend()
        super().delete(key)


def test_success_that_names_a_version_that_is_not_stored_is_an_error(
    two_versions: TwoVersions,
) -> None:
    store = two_versions.store
    success = read_success(store)
    assert success is not None
    store.delete(success.manifests[0].key)
    with pytest.raises(VerificationError, match=r"_SUCCESS: the version .* is not stored"):
        find_superseded(store)


def test_removal_that_breaks_off_anywhere_leaves_a_sound_store_and_is_finished(
    two_versions: TwoVersions,
) -> None:
    """Each attempt gets one object further; collection does the rest."""
    store = two_versions.store
    before = _read(store, 1)
    (found,) = find_superseded(store)
    while len(_files(two_versions, 1)) > 2:
        dies = _Dies(two_versions, survives=1)
        (left,) = find_superseded(dies)
        with pytest.raises(RetryableStoreError):
            prune(dies, left)
        assert verify(store).problems == []
        assert [*repair(store, _no_recompute)] == []
        assert status(store).plans[0].versions[1].is_current
        if len(_files(two_versions, 1)) == len(found.objects):
            assert _read(store, 1) == before
        else:
            with pytest.raises(UserError, match="was removed"):
                _read(store, 1)
        assert {each.reference for each in find_unreferenced(store)} == {ReferenceStatus.GARBAGE}
    _collect(store)
    assert _files(two_versions, 1) == set()
    assert len(_read(store)) == two_versions.second.num_samples(Split.TRAIN)


def test_version_that_becomes_current_during_its_removal_stays(
    two_versions: TwoVersions,
) -> None:
    """A selection names version 1 after the removal began, and before its record is put."""
    store = two_versions.store
    (found,) = find_superseded(store)
    name_in_success(store, sealed_as(two_versions.first))
    with pytest.raises(UserError, match="became the current one meanwhile; nothing was deleted"):
        prune(store, found)
    before = _read(store)
    assert len(before) == two_versions.first.num_samples(Split.TRAIN)
    _collect(store)
    assert _read(store) == before == _read(store, 1), "what is current is not removed"
    assert verify(store).problems == []
    assert [version.is_current for version in status(store).plans[0].versions] == [True, False]


class _RemovedMeanwhile(LocalStore):
    """A store in which version 1 is removed just before ``_SUCCESS`` is replaced."""

    def __init__(self, of: TwoVersions, found: Superseded) -> None:
        super().__init__(of.folder)
        self._found: Superseded | None = found

    def put_if_version(self, key: str, data: bytes, version: str) -> bool:
        found, self._found = self._found, None
        if found is not None:
            prune(LocalStore(self.root), found)
        return super().put_if_version(key, data, version)


def test_selection_of_a_version_that_is_removed_meanwhile_is_taken_back(
    two_versions: TwoVersions,
) -> None:
    store = two_versions.store
    (found,) = find_superseded(store)
    success = read_success(store)
    with pytest.raises(UserError, match=r"v1 of plan .* was removed at the same moment"):
        select_scene(_RemovedMeanwhile(two_versions, found), PLANS_MARGIN)
    assert read_success(store) == success
    assert len(_read(store)) == two_versions.second.num_samples(Split.TRAIN)
    assert select_scene(store, PLANS_MARGIN).version == 3


def test_selection_of_a_version_whose_removal_broke_off_makes_a_new_one(
    two_versions: TwoVersions,
) -> None:
    store = two_versions.store
    (found,) = find_superseded(store)
    with pytest.raises(RetryableStoreError):
        prune(_Dies(two_versions, survives=1), found)
    assert found.objects[0].key in _files(two_versions, 1), "its manifest is still there"
    assert select_scene(store, PLANS_MARGIN).version == 3
    _collect(store)
    assert len(_read(store)) == two_versions.first.num_samples(Split.TRAIN)


def test_lost_success_is_repaired_without_removed_versions(two_versions: TwoVersions) -> None:
    store = two_versions.store
    select_scene(store, PLANS_MARGIN)
    (second,) = find_superseded(store, numbers=[2])
    dies = _Dies(two_versions, survives=1)
    with pytest.raises(RetryableStoreError):
        prune(dies, second)
    assert _files(two_versions, 2) == {info.key for info in second.objects}
    store.delete(layout.SUCCESS_KEY)
    assert [*repair(store, _no_recompute)] == [layout.SUCCESS_KEY]
    assert len(_read(store)) == two_versions.first.num_samples(Split.TRAIN)


def test_build_that_seals_a_removed_version_late_changes_nothing_for_readers(
    two_versions: TwoVersions, built: Built
) -> None:
    store = two_versions.store
    (found,) = find_superseded(store)
    prune(store, found)
    built.seal(store)
    success = read_success(store)
    assert success is not None and success.manifests == [sealed_as(two_versions.second)]
    assert {each.reference for each in find_unreferenced(store)} == {ReferenceStatus.GARBAGE}
    _collect(store)
    assert _files(two_versions, 1) == set() and verify(store).problems == []
