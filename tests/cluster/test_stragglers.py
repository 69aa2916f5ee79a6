"""A unit is late if it takes much longer than the median of the others."""

from pipeline.cluster.driver import Pace


def _pace(*seconds: float) -> Pace:
    pace = Pace()
    for each in seconds:
        pace.add(each)
    return pace


def test_straggler_nothing_is_late_before_anything_is_done() -> None:
    assert _pace().straggler({1: 1e9}) is None


def test_straggler_is_the_latest_unit_beyond_twice_the_middle() -> None:
    pace = _pace(9.0, 10.0, 11.0, 500.0)
    assert pace.straggler({}) is None
    assert pace.straggler({1: 20.9, 2: 5.0}) is None
    assert pace.straggler({1: 21.1, 2: 30.0, 3: 5.0}) == 2


def test_straggler_the_middle_follows_a_change_of_pace_in_bounded_memory() -> None:
    pace = _pace(*[1.0] * 5_000, *[100.0] * 5_000)
    assert pace.straggler({1: 150.0}) is None
    assert pace.straggler({1: 201.0}) == 1
