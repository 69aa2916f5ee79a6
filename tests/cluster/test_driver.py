"""The driver on a real Ray: every unit is done once, also when workers fail."""

from collections.abc import Generator
from pathlib import Path

import pytest

from pipeline.cli.progress import Tally
from pipeline.cluster import driver
from pipeline.core.errors import BuildError, BuildStoppedError, ModelError, PermanentStoreError
from pipeline.monitor.unit_summary import UnitSummary
from pipeline.storage.receipts import Commit
from tests.cluster import failing_workers, lost_workers, slow_workers, stand_ins
from tests.cluster.driving import Spawn, nothing_is_late, run_units, unit_numbers
from tests.waiting import pause

__all__ = ["nothing_is_late"]

pytestmark = pytest.mark.usefixtures("ray_cluster", "nothing_is_late")

HANG_S = 4.0
"""Shorter than ``MovesSlowly`` takes, and longer than a busy machine stands still."""


def test_driver_all_units_are_done_once_and_workers_end(tmp_path: Path) -> None:
    spawn = Spawn(stand_ins.Worker, tmp_path)
    units = [unit for unit in range(60) if unit % 7]
    assert unit_numbers(run_units(spawn, units, workers=3)) == units
    assert all(len(stand_ins.attempts(tmp_path, unit)) == 1 for unit in units)
    assert stand_ins.done(tmp_path) == set(units)
    assert len(spawn.actors) == 3
    assert spawn.all_dead()


def test_driver_no_units_start_no_worker(tmp_path: Path) -> None:
    spawn = Spawn(stand_ins.Worker, tmp_path)
    assert list(run_units(spawn, [])) == []
    assert spawn.actors == []


def test_driver_stopped_half_way_ends_its_workers(tmp_path: Path) -> None:
    spawn = Spawn(stand_ins.Worker, tmp_path)
    run = run_units(spawn, iter(range(1_000_000)))
    first = next(run)
    assert isinstance(run, Generator)
    run.close()
    assert first.unit in stand_ins.done(tmp_path)
    assert spawn.all_dead()


def test_driver_two_units_are_in_flight_at_a_worker(tmp_path: Path) -> None:
    units = range(20)
    spawn = Spawn(stand_ins.CountsInFlight, tmp_path)
    assert unit_numbers(run_units(spawn, units, workers=1)) == list(units)
    assert sorted(path.name for path in tmp_path.glob("in-flight-*")) == [
        "in-flight-1",
        "in-flight-2",
    ]


def test_driver_dead_worker_is_replaced_and_its_units_are_done(tmp_path: Path) -> None:
    spawn = Spawn(lost_workers.DiesOnce, tmp_path)
    assert unit_numbers(run_units(spawn, range(20))) == list(range(20))
    assert stand_ins.done(tmp_path) == set(range(20))
    assert len(stand_ins.attempts(tmp_path, 3)) == 2
    assert len(spawn.actors) == 3
    assert spawn.all_dead()


def test_driver_unit_that_kills_workers_is_named_and_not_its_neighbour(tmp_path: Path) -> None:
    spawn = Spawn(lost_workers.DiesOfUnit9, tmp_path)
    with pytest.raises(
        BuildError, match="unit 9 failed 2 times, and also fails without any of its"
    ):
        list(run_units(spawn, range(10), workers=1, max_attempts=2))
    assert stand_ins.done(tmp_path) == set(range(9))
    assert len(stand_ins.attempts(tmp_path, 9)) == 2
    assert len(stand_ins.probes(tmp_path, 9)) == 1, "without candidates it is tried once"
    assert spawn.all_dead()


def test_driver_failing_candidates_are_found_and_left_out(tmp_path: Path) -> None:
    spawn = Spawn(lost_workers.DiesOfCandidates, tmp_path)
    summaries = list(run_units(spawn, range(6), max_attempts=2))
    assert unit_numbers(summaries) == list(range(6))
    assert {s.unit: s.failed for s in summaries} == {0: 0, 1: 0, 2: 0, 3: 3, 4: 0, 5: 0}
    expected = {1: "worker_died", 4: "ArithmeticError", 6: "worker_died"}
    assert stand_ins.failing_candidates(tmp_path, 3) == expected
    assert spawn.all_dead()


def test_driver_one_success_clears_a_candidate(tmp_path: Path) -> None:
    """A candidate kills its worker twice and then succeeds, so it is not recorded as failed."""
    spawn = Spawn(lost_workers.DiesTwiceOfCandidate, tmp_path)
    assert unit_numbers(run_units(spawn, range(6), max_attempts=2)) == list(range(6))
    assert stand_ins.failing_candidates(tmp_path, 3) == {}


@pytest.mark.parametrize("kind", [slow_workers.HangsOnce, slow_workers.HangsAsAWhole])
def test_driver_worker_that_hangs_is_replaced(
    tmp_path: Path, kind: type[stand_ins.Worker], caplog: pytest.LogCaptureFixture
) -> None:
    spawn = Spawn(kind, tmp_path)
    assert unit_numbers(run_units(spawn, range(8), workers=1, hang_seconds=HANG_S)) == list(
        range(8)
    )
    assert "has made no progress for" in caplog.text
    assert len(spawn.actors) == 2
    assert spawn.all_dead()


def test_driver_worker_that_is_slow_and_moves_is_left_alone(tmp_path: Path) -> None:
    spawn = Spawn(slow_workers.MovesSlowly, tmp_path)
    assert unit_numbers(run_units(spawn, range(8), workers=1, hang_seconds=HANG_S)) == list(
        range(8)
    )
    assert len(spawn.actors) == 1


def test_driver_that_was_suspended_blames_no_worker(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The driver stands still for longer than a worker may, as after SIGSTOP or on a laptop."""
    spawn = Spawn(slow_workers.TakesAMoment, tmp_path)
    summaries = run_units(spawn, range(90), workers=3, hang_seconds=HANG_S)
    finished = [next(summaries) for _ in range(45)]
    pause(HANG_S + 1)
    finished += summaries
    assert unit_numbers(finished) == list(range(90))
    assert "no progress" not in caplog.text
    assert len(spawn.actors) == 3


def test_driver_straggler_is_given_to_an_idle_worker_and_the_first_wins(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "SLOW", 2.0)
    spawn = Spawn(slow_workers.Straggles, tmp_path)
    assert unit_numbers(run_units(spawn, range(8))) == list(range(8))
    assert "unit 3 is late" in caplog.text
    assert len(stand_ins.attempts(tmp_path, 3)) == 2
    assert spawn.all_dead(), "including the one that is still running"


def test_driver_worker_that_leaves_is_replaced_and_nothing_is_blamed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spawn = Spawn(lost_workers.LeavesOnce, tmp_path)
    assert unit_numbers(run_units(spawn, range(8), max_attempts=1)) == list(range(8))
    assert len(spawn.actors) == 3
    assert "failed" not in caplog.text
    assert spawn.all_dead()


def test_driver_asked_to_stop_commits_finished_units_and_drops_the_rest(tmp_path: Path) -> None:
    spawn = Spawn(lost_workers.WaitsToLeave, tmp_path)
    finished: list[int] = []

    def stop() -> bool:
        return {2, 3} <= {unit for unit in range(4) if stand_ins.attempts(tmp_path, unit)}

    with pytest.raises(BuildStoppedError):
        for summary in run_units(spawn, range(1000), workers=1, stop=stop):
            finished.append(summary.unit)
    assert sorted(finished) == [0, 1, 3]
    assert stand_ins.done(tmp_path) == {0, 1, 3}
    assert spawn.all_dead()


def test_driver_failed_unit_is_tried_again(tmp_path: Path) -> None:
    spawn = Spawn(failing_workers.FailsOnce, tmp_path)
    assert unit_numbers(run_units(spawn, range(12), max_attempts=2)) == list(range(12))
    assert [len(stand_ins.attempts(tmp_path, unit)) for unit in range(12)] == [2, 1, 1] * 4
    assert len(spawn.actors) == 2, "an error does not cost the worker"


def test_driver_unit_that_keeps_failing_is_named_and_the_others_stay(tmp_path: Path) -> None:
    spawn = Spawn(failing_workers.FailsAtUnit9, tmp_path)
    finished: list[UnitSummary] = []
    with pytest.raises(BuildError) as caught:
        for summary in run_units(spawn, range(10), workers=1):
            finished.append(summary)
    assert "unit 9 failed 3 times, and also fails without any" in str(caught.value)
    assert "unit 9 has no solution" in str(caught.value)
    assert "resumes" in str(caught.value)
    assert len(stand_ins.attempts(tmp_path, 9)) == 3
    # Two units are in flight, so at most one of the others is unfinished.
    assert len(finished) >= 8
    assert {summary.unit for summary in finished} <= stand_ins.done(tmp_path)
    assert spawn.all_dead()


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        (failing_workers.WithoutModel, ModelError, "/models/sd: no such model folder"),
        (failing_workers.LosesItsBucket, PermanentStoreError, "cannot put s3://b/k: NoSuchBucket"),
    ],
)
def test_driver_user_error_stops_the_build_unchanged(
    tmp_path: Path, kind: type[stand_ins.Worker], error: type[Exception], message: str
) -> None:
    spawn = Spawn(kind, tmp_path)
    with pytest.raises(error) as caught:
        list(run_units(spawn, range(1000)))
    assert type(caught.value) is error
    assert str(caught.value) == message
    assert len(stand_ins.attempts(tmp_path, 3)) <= 1, "not tried again"
    assert spawn.all_dead()


def test_driver_unforeseen_error_in_loading_is_shown_with_its_cause(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"(?s)could not load its models.*division by zero"):
        list(run_units(Spawn(failing_workers.WithBrokenModel, tmp_path), range(10)))


def test_driver_workers_that_die_loading_stop_the_build(tmp_path: Path) -> None:
    spawn = Spawn(lost_workers.DiesLoading, tmp_path)
    with pytest.raises(BuildError, match="died 4 times while starting"):
        list(run_units(spawn, range(10), max_attempts=2))


def test_driver_disagreement_of_two_attempts_is_carried(tmp_path: Path) -> None:
    summaries = list(run_units(Spawn(stand_ins.Disagrees, tmp_path), range(5)))
    commits = {summary.unit: summary.commit for summary in summaries}
    assert commits.pop(2) is Commit.DIFFERENT
    assert set(commits.values()) == {Commit.MINE}
    tally = Tally()
    for summary in summaries:
        tally.add(summary)
    assert tally.different == 1
