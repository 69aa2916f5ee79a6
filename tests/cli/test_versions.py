"""Versions of a plan on the command line: listed, read, exported, reported, verified, removed."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from pipeline.cli.app import app
from pipeline.core.errors import UserError, VerificationError
from pipeline.core.records import Split
from pipeline.evaluate.trial.samples import read_data_set
from pipeline.storage import layout
from tests.sealed import built, sealed_folder
from tests.two_versions import TwoVersions, _two_versions, select_scene, two_versions

__all__ = ["_two_versions", "built", "sealed_folder", "two_versions"]


def _npd(*arguments: object) -> str:
    """Return the output of a command. Its errors are raised."""
    ended = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    assert ended.exit_code == 0, ended.output
    return ended.output


def _margin(version: TwoVersions) -> str:
    return f"scene by {version.second.selection['scene']:g}"


def test_status_lists_versions_and_prune_removes_them(two_versions: TwoVersions) -> None:
    folder, plan_id = two_versions.folder, two_versions.plan_id
    first, second = two_versions.first.funnel.kept, two_versions.second.funnel.kept
    of_second = f"  version 2 (current): {second} pairs, kept where better: {_margin(two_versions)}"
    lines = _npd("status", folder).splitlines()
    units = two_versions.first.plan.num_units
    assert lines[:3] == [
        f"plan {plan_id}: {units} of {units} units (100%), sealed",
        f"  version 1: {first} pairs, kept where better: scene by 0",
        of_second,
    ]
    before = {path for path in folder.rglob("*") if path.is_file()}
    listed = _npd("prune", folder)
    line = f"version 1 of plan {plan_id}: {first} pairs, kept where better: scene by 0; "
    assert f"superseded: {line}" in listed
    assert "1 version: nothing was removed; use --delete to remove them" in listed
    assert {path for path in folder.rglob("*") if path.is_file()} == before
    assert f"removed: {line}" in _npd("prune", folder, "--version", 1, "--delete")
    assert _npd("status", folder).splitlines()[1:3] == ["  version 1: removed", of_second]
    assert "0 versions" in _npd("prune", folder)
    with pytest.raises(UserError, match="is the current one"):
        _npd("prune", folder, "--version", 2, "--delete")


def test_status_says_which_version_is_damaged(two_versions: TwoVersions) -> None:
    path = two_versions.folder / layout.manifest_key(two_versions.plan_id, 1)
    path.write_bytes(b"{}")
    lines = _npd("status", two_versions.folder).splitlines()
    assert lines[1].startswith("  version 1: damaged: ")
    assert lines[2].startswith("  version 2 (current): ")


def test_export_of_a_version(two_versions: TwoVersions, tmp_path: Path) -> None:
    counts = []
    for version in ([], ["--version", 1]):
        out = tmp_path / f"out{len(version)}"
        _npd("export", two_versions.folder, out, "--format", "parquet", *version)
        described = json.loads((out / "export.json").read_bytes())
        counts.append((described["version"], sum(described["splits"].values())))
    expected = [(2, two_versions.second.funnel.kept), (1, two_versions.first.funnel.kept)]
    assert counts == expected
    with pytest.raises(UserError, match=r"has no version 9; there are 1, 2 \(current\)"):
        _npd("export", two_versions.folder, out, "--format", "parquet", "--version", 9)


def test_report_of_a_version_leaves_that_of_the_current_one(two_versions: TwoVersions) -> None:
    folder, plan_id = two_versions.folder, two_versions.plan_id
    current = _npd("report", folder)
    report = folder / layout.report_key(plan_id, "report.md")
    before = report.read_bytes()
    assert f"# Plan {plan_id}, version 2" in current
    older = _npd("report", folder, "--version", 1)
    assert f"# Plan {plan_id}, version 1" in older
    assert report.read_bytes() == before
    assert (folder / layout.report_key(plan_id, "v1-report.md")).read_text() in older


def test_report_into_another_folder_leaves_the_data_set_as_it_is(
    sealed_folder: Path, tmp_path: Path
) -> None:
    before = set(sealed_folder.rglob("*"))
    _npd("report", sealed_folder, "--out", tmp_path / "out")
    assert set(sealed_folder.rglob("*")) == before
    assert len([*(tmp_path / "out").rglob("report.md")]) == 1


def test_verify_of_a_version_finds_what_is_wrong_in_it_alone(two_versions: TwoVersions) -> None:
    folder, plan_id = two_versions.folder, two_versions.plan_id
    assert "0 problems" in _npd("verify", folder, "--version", 1)
    shard = next((folder / "shards" / plan_id / "v1").glob("train-*.arrow"))
    shard.write_bytes(shard.read_bytes()[:-1])
    assert "0 problems" in _npd("verify", folder)
    ended = CliRunner().invoke(app, ["verify", str(folder), "--version", "1"])
    assert ended.exit_code == 1 and f"wrong: {shard.relative_to(folder)}" in ended.output


@pytest.mark.parametrize("command", ["select", "evaluate"])
def test_prompts_of_another_plan_under_the_key_of_this_one_are_refused(
    two_versions: TwoVersions, command: str
) -> None:
    path = two_versions.folder / layout.prompts_key(two_versions.plan_id)
    table = pq.read_table(path)
    pq.write_table(table.take([*range(1, len(table)), 0]), path)
    with pytest.raises(VerificationError, match=r"prompts\.parquet: not the prompts of the plan"):
        if command == "select":
            select_scene(two_versions.store, 1e9)
        else:
            read_data_set(two_versions.store)


@pytest.mark.parametrize("command", ["report", "export", "evaluate", "picture"])
def test_file_of_another_version_under_the_key_of_this_one_is_refused(
    two_versions: TwoVersions, tmp_path: Path, command: str
) -> None:
    """A readable Parquet file, or shard, with other rows than were promised."""
    folder, first, second = two_versions.folder, two_versions.first, two_versions.second
    replaced, other = first.ledger.key, second.ledger.key
    if command == "picture":
        # All shards, because the picture may show a pair of any of them.
        other = second.shards[Split.TRAIN]["arrow"][0].key
        for shard in first.shards[Split.TRAIN]["arrow"]:
            (folder / shard.key).write_bytes((folder / other).read_bytes())
        replaced = f"shards/{first.plan_id}/v1/train-.*"
    else:
        (folder / replaced).write_bytes((folder / other).read_bytes())
    with pytest.raises(VerificationError, match=f"{replaced}.*not the bytes|{replaced}: damaged"):
        if command == "export":
            out = ("--format", "hf", "--version", 1)
            _npd("export", folder, tmp_path / "out", *out)
        elif command == "evaluate":
            select_scene(two_versions.store, 0.0)
            read_data_set(two_versions.store)
        else:
            _npd("report", folder, "--version", 1)
