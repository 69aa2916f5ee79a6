"""Exports that are killed, repeated, aimed at the wrong place, or damaged."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.core.errors import UserError, VerificationError
from pipeline.core.records import Split
from pipeline.publish.compact import compact
from pipeline.publish.export import FORMATS, ExportSpec, export, specify_export
from pipeline.publish.select import select
from pipeline.storage.local import LocalStore
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.open import open_store
from tests.faults.simulated.faulty_store import FaultyStore
from tests.faults.simulated.memory_store import Clock, MemoryStore, Objects
from tests.publish.export.dying_store import DyingAt, Killed, raise_killed
from tests.publish.export.exports import digests, export_to
from tests.sealed import manifest_of

HERE = [name for name in FORMATS if name != "mds"]
"""Formats that need no other library."""

DEADLINE_S = 120


def _contents(store: ObjectStore) -> dict[str, bytes]:
    return {info.key: store.get(info.key) for info in store.list("")}


def _spec(sealed: Path, format_name: str, samples_per_file: int = 4) -> ExportSpec:
    return specify_export(open_store(str(sealed)), format_name, samples_per_file=samples_per_file)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("format_name", HERE)
def test_export_that_died_at_any_call_ends_in_the_undisturbed_bytes(
    bare_folder: Path, format_name: str, after: bool
) -> None:
    store, spec = open_store(str(bare_folder)), _spec(bare_folder, format_name)
    undisturbed = MemoryStore(Objects(Clock()))
    calls = DyingAt(0, raise_killed)
    assert export(store, FaultyStore(undisturbed, calls), spec).is_new
    assert calls.num_calls > 8
    for at in range(1, calls.num_calls + 1):
        target = MemoryStore(Objects(Clock()))
        with pytest.raises(Killed):
            export(store, FaultyStore(target, DyingAt(at, raise_killed, after=after)), spec)
        export(store, target, spec)
        assert _contents(target) == _contents(undisturbed), f"died at call {at}"


def test_export_killed_by_sigkill_keeps_whole_files_and_goes_on(
    sealed_folder: Path, tmp_path: Path
) -> None:
    export_to(tmp_path / "undisturbed", sealed_folder, "golden-noise-npz", samples_per_file=4)
    out = tmp_path / "out"
    module = "tests.publish.export.dying_store"
    command = [sys.executable, "-m", module, str(sealed_folder), str(out), "golden-noise-npz", "40"]
    ended = subprocess.run(command, timeout=DEADLINE_S, check=False)
    assert ended.returncode < 0
    left = out / "train" / "pairs" / ".npd-tmp-1"  # as a write that is killed leaves it
    left.write_bytes(b"half")
    partial = digests(out)
    assert "SHA256SUMS" not in partial and 5 < len(partial) < len(digests(tmp_path / "undisturbed"))
    written = {path: path.stat().st_mtime_ns for path in out.rglob("*.npz")}

    assert export_to(out, sealed_folder, "golden-noise-npz", samples_per_file=4).is_new
    assert digests(out) == digests(tmp_path / "undisturbed")
    assert {path: path.stat().st_mtime_ns for path in written} == written, "nothing written twice"


@pytest.mark.parametrize("format_name", HERE)
def test_export_to_s3_is_the_same_objects_as_in_a_folder(
    sealed_folder: Path, tmp_path: Path, s3_url: str, format_name: str
) -> None:
    export_to(tmp_path, sealed_folder, format_name)
    made = export_to(s3_url, sealed_folder, format_name)
    there = _contents(open_store(s3_url))
    assert there == _contents(LocalStore(tmp_path))
    assert made.num_files == len(there) - 2  # but the description and the checksums
    assert not export_to(s3_url, sealed_folder, format_name).is_new


def test_finished_export_is_left_alone(sealed_folder: Path, tmp_path: Path) -> None:
    assert export_to(tmp_path, sealed_folder, "parquet").is_new
    then = time.time() - 3600
    for path in tmp_path.rglob("*"):
        os.utime(path, (then, then))
    assert not export_to(tmp_path, sealed_folder, "parquet").is_new
    assert all(path.stat().st_mtime == pytest.approx(then) for path in tmp_path.rglob("*"))


def test_checksums_pass_sha256sum_and_find_damage(sealed_folder: Path, tmp_path: Path) -> None:
    export_to(tmp_path, sealed_folder, "golden-noise-npz")
    check = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
    assert subprocess.run(check, cwd=tmp_path, check=False).returncode == 0
    named = {line.split("  ")[1] for line in (tmp_path / "SHA256SUMS").read_text().splitlines()}
    assert named == digests(tmp_path).keys() - {"SHA256SUMS", "export.json"}
    (tmp_path / "train" / "prompts.txt").write_text("")
    assert subprocess.run(check, cwd=tmp_path, check=False, capture_output=True).returncode == 1


def test_description_names_plan_manifest_and_splits(sealed_folder: Path, tmp_path: Path) -> None:
    export_to(tmp_path, sealed_folder, "parquet", "train", "test")
    manifest = manifest_of(sealed_folder)
    description = json.loads((tmp_path / "export.json").read_bytes())
    assert (description["plan_id"], description["version"]) == (manifest.plan_id, 1)
    assert description["format"] == "parquet"
    assert description["splits"] == {
        "train": manifest.num_samples(Split.TRAIN),
        "test": manifest.num_samples(Split.TEST),
    }


def test_damaged_file_of_an_unfinished_export_is_found(sealed_folder: Path, tmp_path: Path) -> None:
    export_to(tmp_path, sealed_folder, "parquet")
    (tmp_path / "SHA256SUMS").unlink()
    damaged = tmp_path / "test-00000-of-00001.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    with pytest.raises(VerificationError, match=r"test-00000-of-00001\.parquet: not what this"):
        export_to(tmp_path, sealed_folder, "parquet")
    assert not (tmp_path / "SHA256SUMS").exists()


def test_file_that_is_stored_wrongly_is_found_when_it_is_read_back(sealed_folder: Path) -> None:
    class Forgetful(MemoryStore):
        def put_file_if_absent(self, key: str, path: Path) -> bool:
            self.put(key, path.read_bytes()[:-1])
            return True

    target = Forgetful(Objects(Clock()))
    with pytest.raises(VerificationError, match="not what this export writes"):
        export(open_store(str(sealed_folder)), target, _spec(sealed_folder, "webdataset"))


def test_damaged_shard_is_named(damaged: Path, tmp_path: Path) -> None:
    shard = next((damaged / "shards").rglob("train-000001-*.arrow"))
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    with pytest.raises(VerificationError, match=rf"{shard.name}.*`npd repair`"):
        export_to(tmp_path / "out", damaged, "webdataset")


def test_folder_with_something_else_is_refused_and_untouched(
    sealed_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"is not empty \(it holds notes\.txt\)"):
        export_to(tmp_path, sealed_folder, "parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_folder_of_another_export_is_refused(
    sealed_folder: Path, bare_folder: Path, tmp_path: Path
) -> None:
    export_to(tmp_path, sealed_folder, "parquet", "train")
    before = digests(tmp_path)
    for sealed, format_name, split, samples in (
        (bare_folder, "parquet", "train", 10),
        (sealed_folder, "webdataset", "train", 10),
        (sealed_folder, "parquet", "test", 10),
        (sealed_folder, "parquet", "train", 9),
    ):
        with pytest.raises(UserError, match="holds another export"):
            export_to(tmp_path, sealed, format_name, split, samples_per_file=samples)
    assert digests(tmp_path) == before


def test_another_selection_is_another_export(damaged: Path, tmp_path: Path) -> None:
    export_to(tmp_path / "out", damaged, "parquet")
    select(open_store(str(damaged)), {"scene": 1.0}, lambda tasks: map(compact, tasks))
    with pytest.raises(UserError, match="holds another export"):
        export_to(tmp_path / "out", damaged, "parquet")
