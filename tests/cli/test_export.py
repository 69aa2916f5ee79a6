"""``npd export``, run as on the command line."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli.app import app
from pipeline.core.errors import UserError
from pipeline.core.records import Split
from tests.sealed import built, manifest_of, sealed_folder

__all__ = ["built", "sealed_folder"]


def _npd(*arguments: object) -> str:
    """Return the output of a command. Its errors are raised."""
    ended = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    assert ended.exit_code == 0, ended.output
    return ended.output


def test_export_reports_what_it_wrote_and_does_nothing_the_second_time(
    sealed_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    made = _npd("export", sealed_folder, out, "--format", "webdataset", "--split", "test")
    size = (out / "test-00000-of-00001.tar").stat().st_size
    assert f"1 file, {size / 1000:.1f} kB, written and read back" in made
    again = _npd("export", sealed_folder, out, "--format", "webdataset", "--split", "test")
    assert "already exported; nothing to do" in again


def test_export_takes_plan_size_of_files_and_licences(sealed_folder: Path, tmp_path: Path) -> None:
    manifest = manifest_of(sealed_folder)
    plan = ["--plan", manifest.plan_id]
    licences = ["--license", "mit", "--prompts-license", "cc0-1.0"]
    made = _npd(
        *("export", sealed_folder, tmp_path / "out", "--format", "hf"),
        *("--samples-per-file", 5, *plan, *licences),
    )
    assert "warning: the card lists the licence of model as unknown" in made
    files = list((tmp_path / "out" / "data").glob("train-*.parquet"))
    assert len(files) == -(-manifest.num_samples(Split.TRAIN) // 5)
    assert "license: mit\n" in (tmp_path / "out" / "README.md").read_text()


def test_export_in_no_known_format_is_refused(sealed_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no format 'zip'"):
        _npd("export", sealed_folder, tmp_path / "out", "--format", "zip")
    assert not (tmp_path / "out").exists()
