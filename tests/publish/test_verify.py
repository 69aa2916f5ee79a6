"""Verification of a store: sealed objects, counts, and reported extras."""

from pathlib import Path

import pytest

from pipeline.core.errors import UserError
from pipeline.core.records import Split
from pipeline.publish.verify import verify
from pipeline.storage import layout
from pipeline.storage.layout import Kind, ParsedKey
from pipeline.storage.open import open_store
from pipeline.storage.receipts import Commit, commit_unit
from pipeline.storage.success import SealedManifest, success_bytes
from tests.publish.damage import edit_json, reseal
from tests.publish.problems import only_problem_in, problems_in
from tests.sealed import Built, manifest_of, receipt_of


def test_clean_set_has_no_problems_and_everything_is_counted(
    sealed_folder: Path, built: Built
) -> None:
    found = verify(open_store(str(sealed_folder)))
    kept = manifest_of(sealed_folder).funnel.kept
    assert found.problems == []
    assert (found.manifests, found.units) == (1, built.plan.num_units)
    assert found.candidates == built.plan.num_candidates
    assert found.pairs == 2 * kept > 0, "in both formats"
    files = [*(sealed_folder / "shards").rglob("*.*"), *(sealed_folder / "ledgers").rglob("*.*")]
    assert found.shards == len(files) - 1
    assert found.num_bytes == sum(file.stat().st_size for file in files)


def test_manifest_altered_is_named(damaged: Path, built: Built) -> None:
    key = layout.manifest_key(built.plan.plan_id, 1)
    edit_json(damaged / key, lambda manifest: manifest["funnel"].update(kept=99))
    assert f"{key}: not the bytes that _SUCCESS promises" in only_problem_in(damaged)


def test_manifest_deleted_is_named(damaged: Path, built: Built) -> None:
    key = layout.manifest_key(built.plan.plan_id, 1)
    (damaged / key).unlink()
    assert key in only_problem_in(damaged)


def test_success_altered_is_named(damaged: Path, built: Built) -> None:
    edit_json(damaged / "_SUCCESS", lambda s: s["manifests"][0].update(sha256="0" * 64))
    assert "not the bytes that _SUCCESS promises" in only_problem_in(damaged)
    (damaged / "_SUCCESS").write_bytes(b"{}")
    assert only_problem_in(damaged).startswith("_SUCCESS: ")


def test_success_missing_beside_a_manifest_is_named(damaged: Path) -> None:
    (damaged / "_SUCCESS").unlink()
    found = verify(open_store(str(damaged)))
    assert [str(problem) for problem in found.problems] == [
        "_SUCCESS: missing, and there is a manifest"
    ]
    assert found.manifests == 1 and found.pairs, "the rest is checked all the same"


def test_plan_that_success_leaves_out_is_named(damaged: Path, built: Built) -> None:
    store = open_store(str(damaged))
    other = SealedManifest(
        plan_id="0" * 16, key=layout.manifest_key("0" * 16, 1), sha256="0" * 64, selection={}
    )
    store.put(layout.SUCCESS_KEY, success_bytes([other]))
    key = layout.manifest_key(built.plan.plan_id, 1)
    assert problems_in(damaged) == [
        f"_SUCCESS: does not name {key}",
        f"{other.key}: _SUCCESS names it, and it is not there",
    ]


def test_store_without_manifest_is_not_sealed(built: Built, tmp_path: Path) -> None:
    built.commit(open_store(str(tmp_path)))
    with pytest.raises(UserError, match="nothing is sealed here"):
        verify(open_store(str(tmp_path)))


@pytest.mark.parametrize("name", ["plan.json", "prompts.parquet"])
def test_plan_deleted_is_named(damaged: Path, built: Built, name: str) -> None:
    (damaged / "plans" / built.plan.plan_id / name).unlink()
    assert f"plans/{built.plan.plan_id}/{name}" in only_problem_in(damaged)


def test_plan_altered_is_named(damaged: Path, built: Built) -> None:
    key = layout.plan_key(built.plan.plan_id)
    edit_json(damaged / key, lambda plan: plan["settings"]["model"].update(name="another"))
    assert [problem.partition(": ")[0] for problem in problems_in(damaged)] == [key, key]


def test_funnel_that_is_not_that_of_the_receipts_is_named(damaged: Path, built: Built) -> None:
    manifest = manifest_of(damaged)
    funnel = manifest.funnel.model_copy(update={"truncated": 3})
    reseal(damaged, manifest.model_copy(update={"funnel": funnel}))
    assert "its funnel is not that of the receipts" in only_problem_in(damaged)


def test_problems_say_what_kind_of_object_is_at_fault(damaged: Path, built: Built) -> None:
    plan_id = built.plan.plan_id
    shard = manifest_of(damaged).shards[Split.TRAIN]["arrow"][0]
    (damaged / shard.key).unlink()
    (damaged / layout.receipt_key(plan_id, 2)).unlink()
    found = verify(open_store(str(damaged)))
    assert [problem.place for problem in found.problems] == [
        ParsedKey(kind=Kind.RECEIPT, plan_id=plan_id, unit=2),
        ParsedKey(kind=Kind.SHARD, plan_id=plan_id, version=1),
    ]


def test_orphans_are_listed_and_are_no_problems(damaged: Path, built: Built) -> None:
    store = open_store(str(damaged))
    garbage = layout.unit_key(built.plan.plan_id, 0, "0" * 64)
    pending = layout.shard_key(built.plan.plan_id, 2, Split.TEST, 0, "0" * 64, "arrow")
    elsewhere = layout.unit_key("f" * 16, 0, "0" * 64)
    for key in (garbage, pending, elsewhere, "notes.txt"):
        store.put(key, b"x")
    found = verify(store)
    assert found.problems == []
    assert [orphan.key for orphan in found.orphans] == [pending, garbage]


def test_disagreements_are_told_and_are_no_problems(damaged: Path, built: Built) -> None:
    store = open_store(str(damaged))
    late = receipt_of(built.plan, 1, built.units[0], attempt_id="late")
    assert commit_unit(store, late, built.units[0].data) is Commit.DIFFERENT
    found = verify(store)
    assert found.problems == []
    key = layout.disagreement_key(built.plan.plan_id, 1, "late")
    message = "unit 1: attempt late gave other pairs than attempt a, which counts"
    assert [str(differs) for differs in found.disagreements] == [f"{key}: {message}"]
    assert [orphan.key for orphan in found.orphans] == [late.data_key]
