"""The order in which a run computes the units."""

from collections.abc import Iterable

import pytest

from pipeline.workflows.build import in_random_order

NUM_UNITS = 1000


def _computed_by_two(first: Iterable[int], second: Iterable[int]) -> int:
    """Return the number of units that two runs of the same speed compute, together."""
    runs = [iter(first), iter(second)]
    done: set[int] = set()
    computed = 0
    while len(done) < NUM_UNITS:
        # Each looks for a receipt before it computes, and both compute at the same time.
        began = [next((unit for unit in run if unit not in done), None) for run in runs]
        computed += sum(unit is not None for unit in began)
        done |= {unit for unit in began if unit is not None}
    return computed


def test_order_has_every_unit_once() -> None:
    assert sorted(in_random_order(NUM_UNITS)) == list(range(NUM_UNITS))


def test_two_runs_share_the_units() -> None:
    in_order = range(NUM_UNITS)
    assert _computed_by_two(in_order, in_order) == 2 * NUM_UNITS
    computed = _computed_by_two(in_random_order(NUM_UNITS), in_random_order(NUM_UNITS))
    # Both begin the same one by chance, most likely at the end: about log(1000) = 7 times.
    assert computed == pytest.approx(NUM_UNITS, abs=50)
