"""Group testing finds exactly the guilty, in few trials, whoever they are."""

from math import ceil, log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cluster.bisection import Bisection
from pipeline.cluster.work import Fault, Work

UNIT = 5
FAULT = Fault(kind="ArithmeticError", message="no solution")


def _examine(size: int, guilty: set[int], *, confirmations: int = 2) -> tuple[Work, list[Work]]:
    """The last word on a unit some of whose candidates fail, and all trials on the way."""
    bisection = Bisection(UNIT, size, confirmations=confirmations)
    trials = []
    while (work := bisection.next()).trial is not None:
        trials.append(work)
        bisection.tell(FAULT if guilty & set(work.trial) else None)
    return work, trials


@given(st.integers(1, 40).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1)))))
def test_bisection_finds_the_guilty_and_nobody_else(case: tuple[int, set[int]]) -> None:
    size, guilty = case
    work, trials = _examine(size, guilty)
    assert set(work.guilty) == guilty
    assert {fault.kind for fault in work.guilty.values()} <= {FAULT.kind}
    assert trials[0].trial == (), "the unit without its candidates comes first"
    assert {trial.unit for trial in trials} == {UNIT}


@pytest.mark.parametrize("size", [2, 64, 100, 1024])
@pytest.mark.parametrize("position", [0, -1])
def test_bisection_takes_two_trials_a_halving(size: int, position: int) -> None:
    guilty = range(size)[position]
    _, trials = _examine(size, {guilty}, confirmations=3)
    # The control, both halves of each level, and the last two confirmed.
    assert len(trials) <= 1 + 2 * ceil(log2(size)) + 3


def test_bisection_of_a_unit_that_fails_without_candidates_tries_nothing_else() -> None:
    bisection = Bisection(UNIT, 8, confirmations=2)
    assert bisection.next().trial == ()
    bisection.tell(FAULT)
    assert bisection.next() == Work(unit=UNIT)


def test_bisection_one_success_acquits() -> None:
    bisection = Bisection(UNIT, 2, confirmations=3)
    bisection.tell(None)
    for fault in (FAULT, FAULT, None):
        assert bisection.next().trial == (0,)
        bisection.tell(fault)
    for _ in range(3):
        assert bisection.next().trial == (1,)
        bisection.tell(FAULT)
    assert set(bisection.next().guilty) == {1}
