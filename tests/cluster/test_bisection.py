"""Bisection finds exactly the failing candidates, in few probes."""

from math import ceil, log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cluster.bisection import Bisection
from pipeline.cluster.messages import Fault, Work

UNIT = 5
FAULT = Fault(kind="ArithmeticError", message="no solution")


def _examine(
    size: int, failing_candidates: set[int], *, confirmations: int = 2
) -> tuple[Work, list[Work]]:
    """Return the failing candidates that the search finds, and all its probes."""
    bisection = Bisection(UNIT, size, confirmations=confirmations)
    probes = []
    while (work := bisection.next()).probe is not None:
        probes.append(work)
        bisection.record(FAULT if failing_candidates & set(work.probe) else None)
    return work, probes


@given(st.integers(1, 40).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1)))))
def test_bisection_finds_exactly_the_failing_candidates(case: tuple[int, set[int]]) -> None:
    size, failing_candidates = case
    work, probes = _examine(size, failing_candidates)
    assert set(work.failing_candidates) == failing_candidates
    assert {fault.kind for fault in work.failing_candidates.values()} <= {FAULT.kind}
    assert probes[0].probe == (), "the unit without its candidates comes first"
    assert {probe.unit for probe in probes} == {UNIT}


@pytest.mark.parametrize("size", [2, 64, 100, 1024])
@pytest.mark.parametrize("position", [0, -1])
def test_bisection_takes_two_probes_per_halving(size: int, position: int) -> None:
    failing_candidates = range(size)[position]
    _, probes = _examine(size, {failing_candidates}, confirmations=3)
    # The probe without candidates, both halves of each level, and the confirmations.
    assert len(probes) <= 1 + 2 * ceil(log2(size)) + 3


def test_bisection_of_a_unit_that_fails_without_candidates_tries_nothing_else() -> None:
    bisection = Bisection(UNIT, 8, confirmations=2)
    assert bisection.next().probe == ()
    bisection.record(FAULT)
    assert bisection.next() == Work(unit=UNIT)


def test_bisection_one_success_clears_a_candidate() -> None:
    bisection = Bisection(UNIT, 2, confirmations=3)
    bisection.record(None)
    for fault in (FAULT, FAULT, None):
        assert bisection.next().probe == (0,)
        bisection.record(fault)
    for _ in range(3):
        assert bisection.next().probe == (1,)
        bisection.record(FAULT)
    assert set(bisection.next().failing_candidates) == {1}
