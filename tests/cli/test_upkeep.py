"""Commands that maintain a data set, run as on the command line."""

import os
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli.app import app
from pipeline.core.errors import UserError
from pipeline.core.identity import sha256
from pipeline.storage import layout
from tests.sealed import Built, built, damaged

__all__ = ["built", "damaged"]


def _npd(*arguments: object) -> str:
    """Return the output of a command. Its errors are raised."""
    ended = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    assert ended.exit_code == 0, ended.output
    return ended.output


@pytest.fixture
def orphan(damaged: Path, built: Built) -> Path:
    """An object of an attempt that lost, three hours old."""
    path = damaged / layout.unit_key(built.plan.plan_id, 0, sha256(b"other"))
    path.write_bytes(b"other")
    then = time.time() - 3 * 3600
    os.utime(path, (then, then))
    return path


def test_gc_lists_and_deletes_nothing_unless_asked(damaged: Path, orphan: Path) -> None:
    (damaged / "notes.txt").write_text("mine", encoding="utf-8")
    key = orphan.relative_to(damaged)
    why = "the receipt of unit 0 names another object"
    lines = _npd("gc", damaged, "--older-than", "2h").splitlines()
    assert lines == [
        "unknown: notes.txt, 4 B, 0 s old: not a key of this system",
        f"garbage: {key}, 5 B, 3.0 h old: {why}",
        "1 object of garbage, 5 B: nothing was deleted; use --delete to delete them",
    ]
    assert orphan.exists()

    young = _npd("gc", damaged, "--delete").splitlines()
    assert f"garbage: {key}, 5 B, 3.0 h old: {why} (younger than 1d: kept)" in young
    assert orphan.exists()

    deleted = _npd("gc", damaged, "--older-than", "0s", "--delete").splitlines()
    assert "1 object of garbage, 5 B: deleted" in deleted
    assert not orphan.exists()
    assert (damaged / "notes.txt").exists()


def test_gc_removes_what_writers_that_were_killed_left_in_a_folder(damaged: Path) -> None:
    left, young = damaged / "units" / ".npd-tmp-1", damaged / "units" / ".npd-tmp-2"
    for path in (left, young):
        path.write_bytes(b"half")
    then = time.time() - 2 * 3600
    os.utime(left, (then, then))
    assert "1 temporary file of" in _npd("gc", damaged, "--older-than", "0s", "--delete")
    assert young.exists() and not left.exists()


def test_gc_with_a_clock_hours_ahead_keeps_files_of_running_writers(
    damaged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing = damaged / "units" / ".npd-tmp-1"
    writing.write_bytes(b"half")
    then = time.time() + 5 * 3600
    monkeypatch.setattr(time, "time", lambda: then)
    assert "0 temporary files" in _npd("gc", damaged, "--older-than", "0s", "--delete")
    assert writing.exists()


@pytest.mark.parametrize("text", ["", "1", "d", "1w", "-1d", "1.5h"])
def test_gc_age_that_is_no_duration_is_refused(damaged: Path, text: str) -> None:
    with pytest.raises(UserError, match="as 30m or 1d"):
        _npd("gc", damaged, "--older-than", text)


def test_select_reports_a_new_and_an_existing_version(damaged: Path) -> None:
    made = _npd("select", damaged, "--margin", "scene=0.1")
    assert "version 2, kept where better: scene by 0.1" in made
    again = _npd("select", damaged, "--margin", "scene=0.1")
    assert "this selection already exists, as version 2" in again
    assert "0 orphans, 0 disagreements, 0 problems\n" in _npd("verify", damaged)


@pytest.mark.parametrize("text", ["scene", "=0.1", "scene=", "scene=much", "scene=nan"])
def test_select_margin_that_is_none_is_refused(damaged: Path, text: str) -> None:
    with pytest.raises(UserError, match=r"as scene=0\.1"):
        _npd("select", damaged, "--margin", text)


def test_repair_without_damaged_units_needs_no_configuration(damaged: Path) -> None:
    shard = next((damaged / "shards").rglob("train-*.arrow"))
    complete = shard.read_bytes()
    shard.write_bytes(complete[:-1])
    out = _npd("repair", damaged)
    assert f"rebuilt: {shard.relative_to(damaged)}" in out
    assert shard.read_bytes() == complete


def test_verify_lists_orphans_and_passes(damaged: Path, orphan: Path) -> None:
    out = _npd("verify", damaged)
    why = "the receipt of unit 0 names another object"
    assert f"orphan: {orphan.relative_to(damaged)}: {why}" in out
    assert "`npd gc`" in out
    assert "1 orphan, 0 disagreements, 0 problems\n" in out


def test_verify_names_the_command_that_comes_next(damaged: Path, built: Built) -> None:
    url = damaged.as_uri()
    ended = CliRunner().invoke(app, ["verify", str(damaged)])
    assert "pairs in each of 2 formats" in ended.stdout
    assert ended.stderr.splitlines()[-1] == f"next: npd report {url}"
    shard = next((damaged / "shards" / built.plan.plan_id / "v1").glob("*.tar"))
    shard.unlink()
    ended = CliRunner().invoke(app, ["verify", str(damaged)])
    assert ended.stderr.splitlines()[-1] == f"next: npd repair {url}"
    (damaged / layout.receipt_key(built.plan.plan_id, 1)).unlink()
    ended = CliRunner().invoke(app, ["verify", str(damaged)])
    assert ended.stderr.splitlines()[-1] == f"next: npd repair {url} --config CONFIG"
