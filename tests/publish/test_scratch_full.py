"""A full folder for temporary files is an error that names it, and nothing is stored."""

import shutil
import tempfile
from pathlib import Path

import pytest

from benchmarks.sdxl_pairs import write_pairs
from pipeline.core.errors import UserError
from pipeline.publish.export.formats import specify_export
from pipeline.publish.export.run import export
from pipeline.storage.local import LocalStore
from tests.environments import can_mount, in_fork, mount_memory


def _export_with_little_room(scratch: Path, sealed: Path, out: Path) -> str:
    mount_memory(scratch, 16 * 1024)
    tempfile.tempdir = str(scratch)
    store = LocalStore(sealed)
    with pytest.raises(UserError) as raised:
        export(store, LocalStore(out), specify_export(store, "parquet"))
    assert list(scratch.iterdir()) == []
    return str(raised.value)


def test_export_without_room_for_temporary_files_names_the_folder(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    if not can_mount(scratch):
        pytest.skip("this user may not mount a file system, even for one process alone")
    write_pairs(str(tmp_path / "sealed"), 60, latent_shape=(4, 8, 8))
    message = in_fork(_export_with_little_room, scratch, tmp_path / "sealed", tmp_path / "out")
    assert str(scratch) in message and "No space left on device" in message and "TMPDIR" in message
    assert [path.name for path in (tmp_path / "out").rglob("*.parquet")] == []
    shutil.rmtree(scratch)
