"""Figures of a running build."""

import re
import threading
from pathlib import Path

import pytest

from pipeline.cli import progress as progress_module
from pipeline.cli.progress import BuildView, EarlierUnits, Rate
from pipeline.core.records import Status
from pipeline.monitor.progress import BuildProgress
from pipeline.monitor.unit_summary import UnitSummary
from pipeline.storage.local import LocalStore
from pipeline.storage.receipts import Commit
from tests.sealed import Built, built

__all__ = ["built"]


def test_rate_starts_with_the_first_ready_worker() -> None:
    rate = Rate()
    assert rate.per_second(100.0) is None
    rate.start(100.0)
    rate.start(105.0)
    assert rate.per_second(110.0) is None, "no unit is done"
    rate.add(110.0, 32)
    assert rate.per_second(110.0) == pytest.approx(32 / 10)


def test_rate_is_that_of_the_last_minutes() -> None:
    rate = Rate()
    rate.start(0.0)
    # An hour of 10 candidates/s, then a quarter of an hour of 1 candidate/s.
    for second in range(10, 3601, 10):
        rate.add(second, 100)
    for second in range(3610, 4501, 10):
        rate.add(second, 10)
    assert rate.per_second(4500.0) == pytest.approx(1.0)
    # It sinks while nothing is done.
    found = rate.per_second(4800.0)
    assert found is not None and found < 0.6


def test_rate_of_units_that_take_longer_than_its_window() -> None:
    rate = Rate()
    rate.start(0.0)
    for second in range(1000, 20_000, 1000):
        rate.add(second, 64)
    assert rate.per_second(19_000.0) == pytest.approx(0.064)


def _summary(kept: int) -> UnitSummary:
    return UnitSummary(
        unit=0,
        candidates=10,
        judged=10,
        kept=kept,
        rejected=10 - kept,
        failed=0,
        compute_seconds=1.0,
        commit=Commit.MINE,
    )


def test_earlier_units_are_read_in_part_and_stand_for_all(
    tmp_path: Path, built: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_module, "_EARLIER_UNITS", 2)
    store = LocalStore(tmp_path)
    built.commit(store)
    assert built.plan.num_units == 5
    earlier = EarlierUnits(store, built.plan.plan_id, bytes([0, 1, 1, 1, 1]))
    for thread in threading.enumerate():
        if thread.name == "npd-earlier-units":
            thread.join()
    kept = [sum(o.status is Status.KEPT for o in unit.outcomes) for unit in built.units]
    assert (earlier.judged, earlier.kept) == (2 * 20, 2 * (kept[1] + kept[3]))


def test_figures_count_earlier_units_and_workers(tmp_path: Path) -> None:
    earlier = EarlierUnits(LocalStore(tmp_path), "0" * 16, bytes(4))
    progress = BuildProgress(total=4, done=1)
    view = BuildView(35, 10, progress, earlier)
    assert re.fullmatch(r"units 1 of 4 \(25%\), elapsed 0 s, starting workers", view.line())
    progress.workers = {"loading": 1, "waiting": 2}
    assert view.workers() == "0 of 3 workers ready, 1 loading models, 2 not started yet"
    # An earlier run kept 9 of 10 candidates, and this one 5 of 10.
    earlier.judged, earlier.kept = 10, 9
    progress.workers = {"ready": 1}
    assert "kept 90%" in view.line()
    progress.done = 2
    view.add(_summary(5))
    assert "kept 70%" in view.line()
    rate = r"[\d.]+ candidates/s, elapsed \d+ s, ETA .+, 1 worker"
    assert re.fullmatch(rf"units 2 of 4 \(50%\), kept 70%, {rate}", view.line())
    assert view.tally.kept == 5
