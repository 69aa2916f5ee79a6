"""Sealing: published objects depend only on the computed results."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.core.errors import ObjectNotFoundError, VerificationError
from pipeline.core.identity import sha256
from pipeline.core.records import Split, Status
from pipeline.publish.verify import verify
from pipeline.storage import layout
from pipeline.storage.formats.arrow_shard import pack_pairs
from pipeline.storage.formats.pairs import PairSchema
from pipeline.storage.open import open_store
from pipeline.storage.success import read_manifest, read_success
from tests.sealed import Built, build, changed, manifest_of, receipt_of

SEALED = ("shards", "ledgers", "manifests", "_SUCCESS")


def _sealed_files(folder: Path) -> dict[str, bytes]:
    """Return all published objects by key."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for name in SEALED
        for path in sorted([folder / name, *(folder / name).rglob("*")])
        if path.is_file()
    }


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Return another plan with one unit."""
    settings = changed(prompts={"seeds_per_prompt": 1, "seed": 99}, units={"size": 50})
    folder = tmp_path_factory.mktemp("small")
    return build(folder, settings | {"splits": {"train": 1.0}})


def test_seal_twice_is_the_same_bytes(damaged: Path, built: Built) -> None:
    before = _sealed_files(damaged)
    built.seal(open_store(str(damaged)))
    assert _sealed_files(damaged) == before


def test_seal_times_hosts_and_attempts_leave_no_trace(
    sealed_folder: Path, built: Built, tmp_path: Path
) -> None:
    marks = {"attempt_id": "zz-attempt", "host": "zz-host", "started": "zz-time"}
    built.sealed_in(str(tmp_path), compute_seconds=123456.5, **marks)
    files = _sealed_files(tmp_path)
    assert files == _sealed_files(sealed_folder)
    for data in files.values():
        assert not any(mark.encode() in data for mark in (*marks.values(), "123456"))
        assert str(tmp_path).encode() not in data


def test_seal_manifest_says_what_is_there(sealed_folder: Path, built: Built) -> None:
    manifest = manifest_of(sealed_folder)
    assert manifest.plan == built.plan and manifest.latent_shape == [4, 8, 8]
    outcomes = [outcome for unit in built.units for outcome in unit.outcomes]
    kept = [outcome for outcome in outcomes if outcome.status == "kept"]
    assert manifest.funnel.candidates == len(outcomes)
    assert manifest.funnel.kept == len(kept)
    assert sum(manifest.funnel.rejected.values()) == len(outcomes) - len(kept)
    for split in Split:
        count = sum(outcome.split is split for outcome in kept)
        assert manifest.num_samples(split) == count
        for shards in manifest.shards[split].values():
            assert sum(shard.num_samples for shard in shards) == count
            for shard in shards:
                data = (sealed_folder / shard.key).read_bytes()
                assert (sha256(data), len(data)) == (shard.sha256, shard.num_bytes)
                assert shard.sha256[:16] in shard.key


def test_seal_unit_missing_is_named_and_nothing_is_sealed(built: Built, tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    built.commit(store, skip=(3,))
    with pytest.raises(ObjectNotFoundError, match=f"unit 3 of plan {built.plan.plan_id}"):
        built.seal(store)
    assert read_success(store) is None
    built.commit(store)
    built.seal(store)
    assert verify(store).problems == []


def test_seal_unit_object_damaged_is_named_and_nothing_is_sealed(
    built: Built, tmp_path: Path
) -> None:
    store = open_store(str(tmp_path))
    built.commit(store)
    key = receipt_of(built.plan, 1, built.units[1]).data_key
    (tmp_path / key).write_bytes(b"rubbish")
    with pytest.raises(VerificationError, match=key):
        built.seal(store)
    assert read_success(store) is None


def test_seal_two_plans_in_one_store_both_are_listed_in_any_order(
    built: Built, small: Built, tmp_path: Path
) -> None:
    for name, order in (("one", (built, small)), ("two", (small, built))):
        for each in order:
            each.sealed_in(str(tmp_path / name))
    store = open_store(str(tmp_path / "one"))
    success = read_success(store)
    assert success is not None
    ids = [sealed.plan_id for sealed in success.manifests]
    assert ids == sorted([built.plan.plan_id, small.plan.plan_id])
    assert [read_manifest(store, sealed).plan_id for sealed in success.manifests] == ids
    assert _sealed_files(tmp_path / "one") == _sealed_files(tmp_path / "two")
    found = verify(store)
    assert (found.manifests, found.problems) == (2, [])


def test_seal_another_result_of_the_same_plan_is_refused(damaged: Path, built: Built) -> None:
    key = layout.receipt_key(built.plan.plan_id, 0)
    receipt = receipt_of(built.plan, 0, built.units[0])
    device = receipt.fingerprint.model_copy(update={"device": "another"})
    text = receipt.model_copy(update={"fingerprint": device}).model_dump_json()
    (damaged / key).write_text(text, encoding="utf-8")
    before = _sealed_files(damaged)
    with pytest.raises(VerificationError, match="another manifest of this plan is there"):
        built.seal(open_store(str(damaged)))
    assert _sealed_files(damaged) == before


def test_seal_of_nothing_kept_is_a_sealed_set_without_shards(built: Built, tmp_path: Path) -> None:
    rejected = {"status": Status.REJECTED, "reason": "reward:scene", "num_bytes": 0}
    schema = PairSchema(latent_shape=(4, 8, 8), reward_names=("scene", "oracle"))
    units = tuple(
        replace(
            unit,
            outcomes=tuple(outcome.model_copy(update=rejected) for outcome in unit.outcomes),
            data=pack_pairs([], schema, 2),
        )
        for unit in built.units
    )
    manifest = replace(built, units=units).sealed_in(str(tmp_path))
    assert manifest.funnel.rejected == {"reward:scene": built.plan.num_candidates}
    assert all(shards == [] for f in manifest.shards.values() for shards in f.values())
    assert verify(open_store(str(tmp_path))).problems == []
