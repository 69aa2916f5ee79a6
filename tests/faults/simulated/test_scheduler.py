"""The scheduler runs simulated processes in repeatable turns."""

from collections.abc import Callable

import pytest

from tests.faults.simulated.scheduler import Crash, Scheduler


def _trace(seed: int) -> list[str]:
    scheduler, trace = Scheduler(seed), list[str]()

    def body(name: str) -> Callable[[], None]:
        def run() -> None:
            for _ in range(5):
                scheduler.yield_turn()
                trace.append(name)

        return run

    for name in "abc":
        scheduler.start(name, body(name))
    scheduler.run()
    return trace


def test_same_seed_repeats_the_order_and_another_seed_changes_it() -> None:
    assert _trace(1) == _trace(1)
    assert sorted(_trace(1)) == sorted("abc" * 5)
    assert len({tuple(_trace(seed)) for seed in range(10)}) > 5


def test_crash_ends_only_a_process_and_its_children() -> None:
    scheduler, ended = Scheduler(0), list[str]()

    def child() -> None:
        scheduler.wait(lambda: False)
        ended.append("child")

    def parent() -> None:
        scheduler.start("child", child)
        scheduler.yield_turn()
        scheduler.crash(scheduler.current())
        ended.append("parent")

    def other() -> None:
        for _ in range(5):
            scheduler.yield_turn()
        ended.append("other")

    scheduler.start("parent", parent)
    scheduler.start("other", other)
    scheduler.run()
    assert ended == ["other"]
    assert all(process.ended and process.error is None for process in scheduler.processes)


def test_crashed_process_makes_no_further_call() -> None:
    scheduler, seen = Scheduler(0), list[str]()

    def body() -> None:
        try:
            scheduler.crash(scheduler.current())
        finally:
            with pytest.raises(Crash):
                scheduler.yield_turn()
            seen.append("cleaned up")

    scheduler.start("process", body)
    scheduler.run()
    assert seen == ["cleaned up"]


def test_stalled_process_continues_when_no_other_can() -> None:
    scheduler, order = Scheduler(0), list[str]()

    def slow() -> None:
        scheduler.stall()
        order.append("slow")

    def quick() -> None:
        for _ in range(20):
            scheduler.yield_turn()
        order.append("quick")

    for body in (slow, quick, quick):
        scheduler.start(body.__name__, body)
    scheduler.run()
    assert order == ["quick", "quick", "slow"]


def test_process_that_waits_forever_is_found_and_ended() -> None:
    scheduler = Scheduler(0)
    process = scheduler.start("waits", lambda: scheduler.wait(lambda: False))
    scheduler.run()
    assert not process.ended
    scheduler.close()
    assert process.ended


def test_error_of_a_process_is_kept() -> None:
    scheduler = Scheduler(0)
    process = scheduler.start("breaks", lambda: [][0])
    scheduler.run()
    assert isinstance(process.error, IndexError)
