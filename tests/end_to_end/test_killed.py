"""Builds resume after their driver or workers are killed, and end in the undisturbed bytes."""

import json
import logging
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.cli.exit_codes import ExitCode
from pipeline.config.file import load_config
from pipeline.core.quantities import counted
from pipeline.core.records import Split, Status
from pipeline.storage import layout
from pipeline.storage.open import open_store
from pipeline.storage.receipts import read_receipt
from pipeline.workflows import build as steps
from tests.end_to_end.builds import (
    DEADLINE_S,
    NUM_UNITS,
    Npd,
    files,
    module_command,
    plan_id,
    sealed_bytes,
    stored_receipts,
)
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("ray_cluster")


@pytest.fixture
def killed(config_path: Path, tmp_path: Path) -> Iterator[Path]:
    """A build whose driver was killed half-way, and whose processes have all ended."""
    out = tmp_path / "out"
    command = module_command(
        *("pipeline.cli", "build", config_path, "--out", out, "--workers", 1),
        *("--log-format", "json"),
    )
    with (
        (tmp_path / "stderr").open("wb") as stderr,
        subprocess.Popen(command, start_new_session=True, stderr=stderr) as driver,
    ):
        _wait_for_receipts(out, 2, driver)
        driver.send_signal(signal.SIGSTOP)  # so that it starts nothing during the search
        # Ray's processes; they must end with the driver that started them.
        started = psutil.Process(driver.pid).children(recursive=True)
        titles = {process: " ".join(_command_line(process)).strip() for process in started}
        driver.send_signal(signal.SIGKILL)
        assert driver.wait(DEADLINE_S) == -signal.SIGKILL, "it ended before it was killed"
    assert any(title.startswith("ray::WorkerActor") for title in titles.values())
    # Ray's agents do not use the store. They exit only after about a minute.
    agents = [process for process, title in titles.items() if title.endswith("Agent")]
    others = [process for process in started if process not in agents]
    _, left = psutil.wait_procs(others, DEADLINE_S)
    yield out
    for process in [*left, *agents]:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    assert left == []


def _wait_for_receipts(out: Path, count: int, driver: "subprocess.Popen[Any]") -> None:
    deadline = time.monotonic() + DEADLINE_S
    while len(list(out.glob("receipts/*/*.json"))) < count:
        assert time.monotonic() < deadline, "timed out"
        with suppress(subprocess.TimeoutExpired):  # a pause between two checks
            code = driver.wait(0.005)
            pytest.fail(f"the build ended by itself with {code}")


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:  # it has just ended
        return []


def test_killed_build_is_resumed_by_the_same_command_to_the_same_bytes(
    npd: Npd, config_path: Path, killed: Path, undisturbed: Path
) -> None:
    store = open_store(str(killed))
    before = stored_receipts(store)
    assert 2 <= len(before) < NUM_UNITS
    state = npd("status", killed)
    share = f"{len(before)} of {NUM_UNITS} units ({len(before) / NUM_UNITS:.0%})"
    # The heartbeat of the killed build counts as alive for two minutes.
    assert state.code == ExitCode.IN_PROGRESS
    assert state.out.startswith(f"plan {plan_id(killed)}: {share}, in progress: ")
    unsealed = npd("verify", killed)
    assert unsealed.code == 2
    assert "nothing is sealed here" in unsealed.err

    again = npd("build", config_path, "--out", killed, "--workers", 1)
    assert again.code == 0, again.err
    assert f"resuming: {counted(len(before), 'unit')} done before" in again.err
    # The share of kept candidates counts the units of the killed run, too.
    receipts = [read_receipt(store, plan_id(killed), unit) for unit in range(NUM_UNITS)]
    kept = sum(receipt.count(Status.KEPT) for receipt in receipts)
    kept_share = kept / sum(len(receipt.outcomes) for receipt in receipts)
    assert f"units {NUM_UNITS} of {NUM_UNITS} (100%), kept {kept_share:.0%}, " in again.err
    assert f"sealed at file://{killed}" in again.err
    # The log of the killed run is one JSON object per line.
    records = [json.loads(line) for line in (killed.parent / "stderr").read_text().splitlines()]
    keys = {"time", "level", "logger", "plan", "unit", "worker", "attempt", "message", "error"}
    assert all(record.keys() == keys for record in records)
    assert {record["plan"] for record in records} == {plan_id(killed)}
    assert any("24 candidates in 12 units, 1 worker" in record["message"] for record in records)
    loaded = [record for record in records if record["message"].endswith("has loaded its models")]
    assert loaded and all(record["worker"] in record["message"] for record in loaded)
    assert before.items() <= stored_receipts(store).items(), "receipts do not change"
    sealed = sealed_bytes(killed)
    assert sealed == sealed_bytes(undisturbed)
    assert len([key for key in sealed if key.endswith(".arrow")]) > len(Split), "several shards"
    assert len([key for key in sealed if key.endswith(".tar")]) > len(Split)
    assert npd("verify", killed).code == 0


def test_stopped_driver_reports_saved_units_and_how_to_resume(
    config_path: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = module_command("pipeline.cli", "build", config_path, "--out", out, "--workers", 1)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as driver:
        _wait_for_receipts(out, 1, driver)
        driver.send_signal(signal.SIGTERM)
        _, err = driver.communicate(timeout=DEADLINE_S)
    assert driver.returncode == 128 + signal.SIGTERM, err
    assert "stopping: finished units are saved" in err
    durable = len(stored_receipts(open_store(str(out))))
    assert 1 <= durable < NUM_UNITS
    assert f"stopped: {durable} of {NUM_UNITS} units saved in file://{out}" in err
    assert f"npd build {config_path} --out file://{out} --workers 1" in err
    assert "Traceback" not in err


def test_resumed_build_computes_only_units_without_a_receipt_while_workers_are_lost(
    config_path: Path, copied: Path, undisturbed: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """State after kills between units and receipts, and between manifest and ``_SUCCESS``.

    One worker gets SIGKILL, another SIGTERM, as from a machine that shuts down.
    """
    missing = [unit for unit in range(NUM_UNITS) if unit not in (2, 5)]
    for unit in missing:
        (copied / layout.receipt_key(plan_id(copied), unit)).unlink()
    (copied / layout.SUCCESS_KEY).unlink()
    before = files(copied)

    opened = steps.open_build(open_store(str(copied)), load_config(config_path))
    assert steps.sealed(opened) is None
    summaries = steps.compute(opened, steps.units_done(opened))
    # After one unit the driver waits for this test, and three or four are in flight.
    done = [next(summaries).unit]
    workers = _initialised_workers(2)
    workers[0].kill()
    workers[1].terminate()
    done += [summary.unit for summary in summaries]
    assert sorted(done) == missing
    # Units may be late on a busy machine, which is another warning.
    of_workers = [each for each in caplog.records if each.name == "pipeline.cluster.worker_handle"]
    warnings = [record for record in of_workers if record.levelno >= logging.WARNING]
    lost = [record for record in warnings if "died and is replaced" in record.getMessage()]
    # One line names the worker, its process and the units that are tried again.
    assert len(lost) == 1 and f"(pid {workers[0].pid} on " in lost[0].getMessage()
    assert re.search(r"; tried again: unit \d+ \(attempt 2\)", lost[0].getMessage())
    assert "was asked to leave and is replaced" in caplog.text
    assert len(warnings) == 2, caplog.text
    steps.publish(opened)

    assert before.items() <= files(copied).items(), "existing objects are not written again"
    assert sealed_bytes(copied) == sealed_bytes(undisturbed)


def _initialised_workers(count: int) -> list[psutil.Process]:
    """Wait for ``count`` workers of this process. One may start long after another."""
    found: list[psutil.Process] = []

    def are_ready() -> bool:
        titles = {
            process: " ".join(_command_line(process))
            for process in psutil.Process().children(recursive=True)
        }
        found[:] = [each for each, title in titles.items() if title.startswith("ray::WorkerActor")]
        # A worker installs its SIGTERM handler in its constructor.
        return len(found) == count and not any("__init__" in titles[each] for each in found)

    assert until(are_ready, DEADLINE_S, poll_s=0.05), "timed out"
    return found
