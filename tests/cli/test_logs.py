"""Logging of a build: what is on the terminal, what is in the file, and JSON records."""

import json
import logging
import threading
from pathlib import Path

import pytest

from pipeline.cli.logs import logging_of, remark, report_error, report_progress
from pipeline.cluster.ray_output import ray_output_logged
from pipeline.core.errors import BuildError, UserError
from pipeline.core.log_records import LogFormat
from tests.environments import can_mount, in_fork, mount_memory

_PLAN = "0123456789abcdef"


def _log(log_format: LogFormat, log_file: Path | None = None) -> Path:
    """Log records of every kind, and return the file."""
    driver, ray = logging.getLogger("pipeline.cluster.driver"), logging.getLogger("ray.worker")
    with logging_of(_PLAN, log_format, log_file, plan_id=_PLAN) as log, ray_output_logged():
        remark("plan of 5 units")
        report_progress("units 1 of 5")
        driver.warning("unit 3 is late", extra={"unit": 3, "attempt": 2})
        driver.info("a detail", extra={"worker": "7f890ecb"})
        ray.error("noise of Ray")
        report_error(BuildError("unit 3 failed\x1b[31m"))
    assert log is not None
    return log


def test_terminal_has_remarks_warnings_and_errors_and_the_file_everything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = _log("text", tmp_path / "build.log")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "plan of 5 units"
    assert [line[20:] for line in lines[1:3]] == ["units 1 of 5", "warning: unit 3 is late"]
    assert lines[3:] == ["error: unit 3 failed\\x1b[31m"]
    written = log.read_text(encoding="utf-8")
    assert [line.partition("+00:00 ")[2] for line in written.splitlines()] == [
        "plan of 5 units",
        "units 1 of 5",
        "warning: unit 3 is late",
        "a detail",
        "error: noise of Ray",
        "error: unit 3 failed\\x1b[31m",
    ]
    # Later records are not written any more.
    logging.getLogger("pipeline").warning("later")
    assert log.read_text(encoding="utf-8") == written


def test_json_has_the_same_keys_in_every_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = _log("json", tmp_path / "build.log")
    printed = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert printed == [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert {tuple(record) for record in printed} == {
        ("time", "level", "logger", "plan", "unit", "worker", "attempt", "message", "error")
    }
    late = printed[2]
    assert (late["level"], late["unit"], late["attempt"]) == ("warning", 3, 2)
    assert (late["plan"], late["worker"], late["error"]) == (_PLAN, None, None)
    assert printed[3]["worker"] == "7f890ecb"


def test_file_is_in_the_folder_for_state_or_for_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert _log("text").parent == tmp_path / "state" / "noise-prompt-dataset"
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    other = _log("text")
    other.unlink()
    assert other.name.startswith(_PLAN)
    with pytest.raises(UserError, match="cannot write the log"):
        _log("text", tmp_path / "file" / "build.log")


def test_what_ray_prints_from_a_thread_is_logged(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pipeline")
    with ray_output_logged():
        thread = threading.Thread(target=print, args=("(raylet) A worker died",))
        thread.start()
        thread.join()
        print("a result")
    assert capsys.readouterr().out == "a result\n"
    assert caplog.messages == ["Ray: (raylet) A worker died"]


def test_log_on_a_full_disk_ends_with_one_warning_and_the_build_goes_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    if not can_mount(tmp_path):
        pytest.skip("this user may not mount a file system, even for one process alone")
    in_fork(_log_on_full_disk, tmp_path)
    printed = capfd.readouterr().err
    assert printed.count("cannot be written: No space left on device") == 1
    assert "the command goes on without it" in printed
    assert "last line" in printed and "Traceback" not in printed


def _log_on_full_disk(folder: Path) -> None:
    mount_memory(folder, 4096)
    with logging_of("build", "text", folder / "build.log"):
        for number in range(100):
            remark(f"line {number} of a hundred, until the one page of the disk is full")
        remark("last line")
