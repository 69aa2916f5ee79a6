"""Foreign files in a store are ignored by every listing and reported by verify."""

import shutil
import tracemalloc
from pathlib import Path

import boto3
import pytest
from typer.testing import CliRunner

from pipeline.cli.app import app
from pipeline.publish.gc import ReferenceStatus, find_unreferenced
from pipeline.publish.verify import verify
from pipeline.storage import layout
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.open import open_store
from pipeline.storage.plans import stored_plans
from pipeline.workflows.build import BuildContext, units_done
from pipeline.workflows.status import status
from tests.publish.repairs import repaired
from tests.sealed import Built, receipt_of

NAMES = (
    ".DS_Store",
    "00000000.json.bak",
    "00000000 (copy).json",
    "old/00000000.json",
    "0.json",
    "000000000.json",
    "00000000.JSON",
    "٠٠٠٠٠٠٠٠.json",
    "README",
)
"""Names of files beside receipts; some look almost like a receipt."""

BEYOND = ("99999999.json", "999999999999.json")
"""Receipts of units that no plan here has."""


def _scatter(store: ObjectStore, built: Built) -> list[str]:
    """Put foreign files beside the receipts, and return their keys."""
    prefix = layout.receipts_prefix(built.plan.plan_id)
    keys = [f"{prefix}{name}" for name in (*NAMES, *BEYOND)]
    for key in keys:
        store.put(key, b"foreign")
    return keys


def test_foreign_files_are_no_units(store: ObjectStore, built: Built) -> None:
    built.commit(store, skip=(1,))
    _scatter(store, built)
    (found,) = status(store).plans
    assert found.units_done == built.plan.num_units - 1
    opened = BuildContext(store=store, config=built.config, plan=built.plan, prompts=built.prompts)
    done = units_done(opened)
    assert len(done) == built.plan.num_units
    assert [unit for unit, is_done in enumerate(done) if not is_done] == [1]


def test_foreign_files_are_named_and_are_no_problems(damaged: Path, built: Built) -> None:
    store = open_store(str(damaged))
    plan_id = built.plan.plan_id
    keys = _scatter(store, built)
    for key in (
        "notes.txt",
        f"disagreements/{plan_id}/.DS_Store",
        f"units/{plan_id}/Thumbs.db",
        f"shards/{plan_id}/v1/other-000000-{'0' * 16}.arrow",
        f"manifests/{plan_id} (copy)/v1.json",
        f"manifests/{plan_id}/v1.json.bak",
    ):
        store.put(key, b"foreign")
        keys.append(key)
    found = verify(store)
    assert found.problems == [] and found.disagreements == [] and found.orphans == []
    assert sorted(foreign.key for foreign in found.foreign) == sorted(keys)
    assert repaired(damaged) == []


def test_foreign_files_are_shown_and_leave_the_exit_code(damaged: Path, built: Built) -> None:
    _scatter(open_store(str(damaged)), built)
    (damaged / "line\nbreak\x1b[31m").write_bytes(b"foreign")
    for command in ("status", "verify", "gc"):
        shown = CliRunner().invoke(app, [command, str(damaged)])
        assert shown.exit_code == 0, shown.output
        assert "\x1b" not in shown.output and "line\nbreak" not in shown.output
    shown = CliRunner().invoke(app, ["verify", str(damaged)])
    prefix = layout.receipts_prefix(built.plan.plan_id)
    assert f"foreign: {prefix}.DS_Store: not a key of this system" in shown.output
    assert f"foreign: {prefix}99999999.json: its plan has {built.plan.num_units} units" in (
        shown.output
    )


def test_receipt_of_a_huge_number_takes_no_memory(damaged: Path, built: Built) -> None:
    store = open_store(str(damaged))
    _scatter(store, built)
    tracemalloc.start()
    found = list(find_unreferenced(store))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert {each.reference for each in found} == {ReferenceStatus.UNKNOWN}
    assert peak < 8_000_000


def test_disagreement_damaged_is_named(damaged: Path, built: Built) -> None:
    store = open_store(str(damaged))
    plan_id = built.plan.plan_id
    key = layout.disagreement_key(plan_id, 1, "late")
    store.put(key, b"{}")
    other = layout.disagreement_key(plan_id, 1, "other")
    late = receipt_of(built.plan, 1, built.units[0], attempt_id="late")
    store.put(other, late.model_dump_json().encode())
    found = verify(store)
    assert [problem.key for problem in found.problems] == []
    assert [problem.key for problem in found.disagreements] == [key, other]
    assert "no receipt" in found.disagreements[0].text
    assert "the receipt of another attempt" in found.disagreements[1].text


def test_plan_copied_by_hand_is_no_plan(damaged: Path, built: Built) -> None:
    plan_id = built.plan.plan_id
    shutil.copytree(damaged / "plans" / plan_id, damaged / "plans" / f"{plan_id} (copy)")
    (damaged / "plans" / ".DS_Store").write_bytes(b"foreign")
    store = open_store(str(damaged))
    assert stored_plans(store) == [plan_id]
    assert [found.plan.plan_id for found in status(store).plans] == [plan_id]


@pytest.mark.parametrize("name", ["plan.json", "prompts.parquet"])
def test_plan_that_is_no_plan_is_an_error_that_names_it(
    damaged: Path, built: Built, name: str
) -> None:
    (damaged / "plans" / built.plan.plan_id / name).write_bytes(b"foreign")
    store = open_store(str(damaged))
    if name == "plan.json":
        (unreadable,) = status(store).problems
        assert f"plans/{built.plan.plan_id}/{name}: no plan" in str(unreadable)
    (problem,) = verify(store).problems
    assert problem.key == f"plans/{built.plan.plan_id}/{name}"


def test_folder_markers_of_a_bucket_are_no_objects(s3_url: str) -> None:
    bucket, _, prefix = s3_url.removeprefix("s3://").partition("/")
    s3 = boto3.client("s3")
    for folder in (f"{prefix}/", f"{prefix}/receipts/", f"{prefix}/receipts/0123456789abcdef/"):
        s3.put_object(Bucket=bucket, Key=folder, Body=b"")
    listed = s3.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]
    assert f"{prefix}/" in [entry["Key"] for entry in listed], "the server keeps markers"
    assert list(open_store(s3_url).list("")) == []
