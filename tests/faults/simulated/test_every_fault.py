"""Every fault at every call of a small build: the resumed build ends in the same bytes."""

from collections.abc import Callable

import pytest

from tests.faults.simulated.campaign import Sweep, simulation_of, sweeps

SEED = 2026


@pytest.mark.parametrize("sweep", sweeps(SEED), ids=lambda sweep: f"{sweep.level}-{sweep.fault}")
def test_build_with_a_fault_at_any_call_resumes_to_the_same_bytes(
    sweep: Sweep, record_property: Callable[[str, object], None]
) -> None:
    count, failures = sweep.run(simulation_of(sweep.seed))
    record_property("simulated cases", count)
    assert count > 50, "a build of several workers makes more calls than this"
    assert not failures, "\n".join(map(str, failures))
