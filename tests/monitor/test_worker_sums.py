"""Sums of each worker, which a build leaves beside its heartbeat."""

from typing import Any

import pytest

from pipeline.config.sections import Config
from pipeline.monitor.build_monitor import BuildMonitor
from pipeline.monitor.progress import BuildProgress
from pipeline.monitor.unit_summary import UnitSummary
from pipeline.storage.local import LocalStore
from pipeline.storage.manifest import Funnel
from pipeline.storage.receipts import Commit
from pipeline.storage.worker_sums import read_worker_sums
from tests.sealed import SETTINGS, write_config

FUNNEL = Funnel(candidates=8, kept=6, rejected={"reward:scene": 2}, failed={}, truncated=0)


@pytest.fixture
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return write_config(tmp_path_factory.mktemp("config"), SETTINGS)


def _summary(worker: str) -> UnitSummary:
    return UnitSummary(
        unit=0,
        candidates=4,
        judged=4,
        kept=3,
        rejected=1,
        failed=0,
        compute_seconds=2.0,
        commit=Commit.MINE,
        worker=worker,
    )


def test_monitor_leaves_the_sums_of_each_worker(config: Config, tmp_path: Any) -> None:
    progress, store = BuildProgress(), LocalStore(tmp_path / "set")
    with BuildMonitor(store, "plan", config, progress) as monitor:
        for worker, kept, commit in (
            ("a", 3, Commit.MINE),
            ("b", 1, Commit.MINE),
            ("a", 2, Commit.MINE),
            ("b", 4, Commit.EARLIER),
        ):
            progress.add(
                UnitSummary(
                    unit=0,
                    candidates=4,
                    judged=4,
                    kept=kept,
                    rejected=4 - kept,
                    failed=0,
                    compute_seconds=2.0,
                    commit=commit,
                    stage_seconds={"sample": 1.5, "upload": 0.5},
                    worker=worker,
                    host="node-1",
                )
            )
        monitor.sealed(FUNNEL)
    found = {each.worker: each for each in read_worker_sums(store, "plan")}
    assert {name: (each.units, each.candidates, each.kept) for name, each in found.items()} == {
        "a": (2, 8, 5),
        "b": (1, 4, 1),
    }
    assert found["a"].stage_seconds == {"sample": 3.0, "upload": 1.0}
    (info,) = store.list("")
    assert info.key.startswith("reports/plan/runs/")


def test_store_that_refuses_heartbeats_and_sums_is_two_warnings(
    config: Config, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "set").mkdir()
    for name in ("heartbeats", "reports"):
        (tmp_path / "set" / name).touch()
    progress = BuildProgress()
    with BuildMonitor(LocalStore(tmp_path / "set"), "plan", config, progress) as monitor:
        progress.add(_summary("a"))
        monitor.seal()
    starts = sorted(
        record.message.partition(" cannot be written: ")[0] for record in caplog.records
    )
    assert starts == ["heartbeats", "sums of workers"]


def test_workers_beyond_the_limit_are_summed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.monitor.progress.MAX_WORKERS", 2)
    progress = BuildProgress()
    for worker in ("a", "b", "c", "d", "a"):
        progress.add(_summary(worker))
    assert {name: each.units for name, each in progress.by_worker.items()} == {
        "a": 2,
        "b": 1,
        "": 2,
    }
