"""All cases of a fault: one for every store call of the build, not a sample."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.faults.simulated.cases import FAULTS, Case, Failure, FaultLevel, Protocol, Simulation
from tests.faults.simulated.faulty_store import Fault
from tests.faults.simulated.stand_in import stand_in

PROTOCOL = Protocol()
"""The protocol of the pipeline."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """One fault at one level, at every call of the build with ``seed``."""

    level: FaultLevel
    fault: Fault
    seed: int

    def cases(self, simulation: Simulation) -> Iterator[Case]:
        """Yield one case for each call.

        Raises ``AssertionError`` if the build fails without a fault.
        """
        for at, _ in enumerate(simulation.calls(self.level, self.seed), start=1):
            yield Case(level=self.level, seed=self.seed, fault=self.fault, at=at)

    def run(self, simulation: Simulation) -> tuple[int, list[Failure]]:
        """Return the number of cases, and the failures."""
        results = [simulation.run(case) for case in self.cases(simulation)]
        return len(results), [failure for failure in results if failure is not None]


def sweeps(seed: int) -> list[Sweep]:
    """Return all faults at both levels, with different seeds to try more interleavings."""
    pairs = [(level, fault) for level, faults in FAULTS.items() for fault in faults]
    return [
        # Consecutive seeds alternate between the two plans (``simulation_of``).
        Sweep(level=level, fault=fault, seed=seed + number)
        for number, (level, fault) in enumerate(pairs)
    ]


def open_simulation(protocol: Protocol = PROTOCOL, share: float | None = None) -> Simulation:
    """Return the simulation of a small plan, made in a temporary folder.

    With ``share``, the plan judges a sample.
    """
    with tempfile.TemporaryDirectory() as folder:
        return Simulation(stand_in(Path(folder), share=share), protocol)


def simulation_of(seed: int) -> Simulation:
    """Return the simulation that cases with this seed use.

    With odd seeds, the plan judges a sample.
    """
    return _of_plan(judges_all=seed % 2 == 0)


@cache
def _of_plan(*, judges_all: bool) -> Simulation:
    return open_simulation(share=None if judges_all else 0.5)
