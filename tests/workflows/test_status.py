"""``npd status`` over stores in every state a build can leave."""

import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli.app import app
from pipeline.cli.exit_codes import ExitCode
from pipeline.core.errors import UserError
from pipeline.evaluate.progress import State
from pipeline.publish.gc import find_unreferenced
from pipeline.publish.verify import verify
from pipeline.storage import layout
from pipeline.storage.heartbeats import Phase, delete_ended, put_heartbeat, store_time
from pipeline.storage.local import LocalStore
from pipeline.storage.object_store import ObjectStore
from pipeline.workflows.status import MAX_RECEIPTS, StatusReader, status
from tests.cli.test_json_output import check_keys
from tests.heartbeats import heartbeat
from tests.sealed import Built, built, damaged

__all__ = ["built", "damaged"]

Age = Callable[[str, float], None]


@pytest.fixture
def folder(tmp_path: Path, built: Built) -> LocalStore:
    """A plan with all units except the last."""
    store = LocalStore(tmp_path / "set")
    built.commit(store, skip=(built.plan.num_units - 1,))
    return store


@pytest.fixture
def age(folder: LocalStore) -> Age:
    """Make everything below a prefix older."""

    def make_older(prefix: str, seconds: float) -> None:
        then = time.time() - seconds
        for info in list(folder.list(prefix)):
            os.utime(folder.root / info.key, (then, then))

    return make_older


def _npd(*arguments: object) -> tuple[int, str]:
    ended = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    return ended.exit_code, ended.stdout


def test_build_that_is_alive_is_in_progress(folder: LocalStore, built: Built, age: Age) -> None:
    put_heartbeat(folder, heartbeat(built.plan.plan_id))
    (plan,) = status(folder).plans
    assert (plan.state, plan.units_in_flight) == (State.IN_PROGRESS, 3)
    done = built.plan.num_units - 1
    assert plan.units_done == plan.tally.units == done
    assert plan.pace is not None and plan.pace.seconds_left is not None
    # The window is the time since the build started, and not an hour.
    assert plan.pace.window_seconds == pytest.approx(600, abs=60)
    assert plan.pace.candidates_per_second == pytest.approx(
        done * built.plan.unit_size / plan.pace.window_seconds
    )
    assert plan.pace.seconds_left == pytest.approx(plan.pace.window_seconds / done)
    assert plan.tally.worker_seconds == done


@pytest.mark.parametrize(
    ("phase", "beat_age", "commit_age", "state", "reason"),
    [
        # Alive, and the last commit is recent or not.
        (Phase.COMPUTING, 60, 300, State.IN_PROGRESS, "alive"),
        (Phase.COMPUTING, 60, 5000, State.STALLED, "nothing was committed for too long"),
        # Sealing commits no units.
        (Phase.SEALING, 60, 90_000, State.IN_PROGRESS, "sealing"),
        # Heartbeats that ended, with and without a reason.
        (Phase.COMPUTING, 300, 310, State.STALLED, "killed"),
        (Phase.STOPPED, 5, 10, State.STALLED, "stopped on request"),
        (Phase.FAILED, 5, 10, State.STALLED, "failed"),
        # A later build whose heartbeats the store refuses.
        (Phase.STOPPED, 5000, 10, State.IN_PROGRESS, "recently"),
        # Programs that write no heartbeats.
        (None, 0, 10, State.IN_PROGRESS, "recently"),
        (None, 0, 5000, State.STALLED, "no build is alive"),
    ],
)
def test_state_of_an_unsealed_plan(
    folder: LocalStore,
    built: Built,
    age: Age,
    phase: Phase | None,
    beat_age: float,
    commit_age: float,
    state: State,
    reason: str,
) -> None:
    age("receipts/", commit_age)
    if phase is not None:
        # It started long ago, so only the last commit counts.
        put_heartbeat(folder, heartbeat(built.plan.plan_id, phase, seconds=90_000.0))
        age("heartbeats/", beat_age)
    (plan,) = status(folder).plans
    assert plan.state is state and reason in plan.reason
    assert plan.seconds_since_commit == pytest.approx(commit_age, abs=60)
    code = ExitCode.IN_PROGRESS if state is State.IN_PROGRESS else ExitCode.STALLED
    assert _npd("status", folder.root)[0] == code


def test_limit_of_a_stall_can_be_given_and_grows_with_the_units(
    folder: LocalStore, built: Built, age: Age
) -> None:
    put_heartbeat(folder, heartbeat(built.plan.plan_id, seconds=90_000.0))
    age("receipts/", 1000)
    assert _npd("status", folder.root)[0] == ExitCode.STALLED
    assert _npd("status", folder.root, "--stalled-after", "1h")[0] == ExitCode.IN_PROGRESS
    for unit in range(built.plan.num_units - 1):
        folder.delete(layout.receipt_key(built.plan.plan_id, unit))
    built.commit(folder, skip=(built.plan.num_units - 1,), compute_seconds=800.0)
    age("receipts/", 3000)
    assert _npd("status", folder.root)[0] == ExitCode.IN_PROGRESS


def test_two_builds_are_both_shown(folder: LocalStore, built: Built) -> None:
    put_heartbeat(folder, heartbeat(built.plan.plan_id))
    put_heartbeat(folder, heartbeat(built.plan.plan_id, build_id="0b" * 16, host="node-2"))
    (plan,) = status(folder).plans
    assert {each.heartbeat.host for each in plan.builds} == {"node-1", "node-2"}
    assert plan.units_in_flight == 6


def test_table_names_what_an_operator_asks(folder: LocalStore, built: Built) -> None:
    put_heartbeat(folder, heartbeat(built.plan.plan_id, failures_in_a_row=4))
    code, shown = _npd("status", folder.root, "--price", "3600")
    assert code == ExitCode.IN_PROGRESS
    done, total = built.plan.num_units - 1, built.plan.num_units
    assert f"{done} of {total} units" in shown and "in progress: a build is alive" in shown
    assert "node-1, process 7: computing for 10 min, 2 of 2 workers ready" in shown
    assert "4 failures in a row" in shown and "in flight     3 units" in shown
    assert "candidates/s in the last 10 min" in shown and "time left" in shown
    kept = sum(outcome.status == "kept" for unit in built.units[:done] for outcome in unit.outcomes)
    assert f"{kept} of {done * built.plan.unit_size} candidates" in shown
    # A second of each unit at 1 a second.
    assert f"cost          {done:.2f} so far, {done / kept:.3g} a kept pair, about 1.00" in shown


def test_failed_build_leaves_its_error_without_terminal_commands(
    folder: LocalStore, built: Built
) -> None:
    put_heartbeat(
        folder,
        heartbeat(built.plan.plan_id, Phase.FAILED, error="\x1b[2Jno GPU\nleft", host="\x07"),
    )
    _, shown = _npd("status", folder.root)
    assert "\x1b" not in shown and "\x07" not in shown
    assert "error         \\x1b[2Jno GPU\\nleft" in shown


def test_json_has_the_documented_keys(folder: LocalStore, built: Built) -> None:
    put_heartbeat(folder, heartbeat(built.plan.plan_id))
    code, shown = _npd("status", folder.root, "--json", "--price", 2)
    found = json.loads(shown)
    assert code == found["exit_code"] == ExitCode.IN_PROGRESS
    built.commit(folder)
    built.seal(folder)
    code, shown = _npd("status", folder.root, "--json")
    sealed = json.loads(shown)
    assert code == sealed["exit_code"] == ExitCode.DONE
    # Lists that are empty in one state are filled in the other.
    found["plans"][0]["versions"] = sealed["plans"][0]["versions"]
    check_keys("status", found)


def test_damaged_receipts_and_plans_are_findings(damaged: Path, built: Built) -> None:
    store = LocalStore(damaged)
    plan_id = built.plan.plan_id
    for unit, data in enumerate((b"", b"[" * 100_000, b'{"outcomes": "\xff"}')):
        store.put(layout.receipt_key(plan_id, unit), data)
    store.put(layout.receipt_key(plan_id, 3), store.get(layout.receipt_key(plan_id, 4)))
    store.put(layout.plan_key("other"), b"{}")
    store.put(f"{layout.heartbeats_prefix(plan_id)}{'0c' * 16}.json", b"\x00" * 50_000)
    found = status(store)
    assert len(found.problems) == 1 and "plans/other/plan.json: no plan" in str(found.problems[0])
    assert len(found.plans[0].damaged) == 4
    assert found.plans[0].tally.units == built.plan.num_units - 4
    code, shown = _npd("status", damaged)
    assert code == ExitCode.PROBLEM
    assert "unreadable    4 receipts" in shown and "the receipt of another unit" in shown


def test_heartbeat_is_nothing_to_gc_and_verify(store: ObjectStore, built: Built) -> None:
    built.commit(store)
    built.seal(store)
    put_heartbeat(store, heartbeat(built.plan.plan_id))
    assert list(find_unreferenced(store)) == []
    found = verify(store)
    assert not (found.problems or found.orphans or found.foreign)
    # A sealed plan needs no build.
    (plan,) = status(store).plans
    assert plan.state is State.SEALED and plan.builds == []


def test_heartbeats_that_ended_are_deleted(store: ObjectStore, built: Built) -> None:
    put_heartbeat(store, heartbeat(built.plan.plan_id))
    now = store_time(store)
    # The clock of a store has a resolution of seconds.
    assert abs(now - datetime.now(UTC)) < timedelta(seconds=60)
    delete_ended(store, built.plan.plan_id, now)
    assert len(list(store.list("heartbeats/"))) == 1
    delete_ended(store, built.plan.plan_id, now + timedelta(minutes=10))
    assert list(store.list("heartbeats/")) == []


def test_repeated_reading_reads_each_receipt_once(
    folder: LocalStore, built: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = StatusReader(folder)
    first = reader.read().plans[0]
    # Receipts that were read are not read again, even if they have become unreadable.
    for info in list(folder.list("receipts/")):
        (folder.root / info.key).write_bytes(b"damaged")
    built.commit(folder, skip=tuple(range(built.plan.num_units - 1)))
    second = reader.read().plans[0]
    assert second.damaged == [] and second.tally.units == first.tally.units + 1


def test_more_receipts_than_are_read_are_sampled_evenly(
    folder: LocalStore, built: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MAX_RECEIPTS == 2000
    monkeypatch.setattr("pipeline.workflows.status.MAX_RECEIPTS", 2)
    done = built.plan.num_units - 1
    (plan,) = StatusReader(folder).read().plans
    assert plan.units_done == done and 1 <= plan.tally.units <= 2
    assert f"in {plan.tally.units} of the receipts" in _npd("status", folder.root)[1]
    (exact,) = StatusReader(folder, is_exact=True).read().plans
    assert exact.tally.units == done


def test_empty_store_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no plan here"):
        _npd("status", tmp_path / "empty")


def test_watch_ends_when_everything_is_sealed(damaged: Path) -> None:
    code, shown = _npd("status", damaged, "--watch", 1)
    assert code == ExitCode.DONE and shown.count("sealed") == 1
