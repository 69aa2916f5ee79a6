"""``python -m tests.faults.simulated``: all cases of the simulation, or one of them again."""

import time
from collections import Counter
from typing import Annotated

import typer

from tests.faults.simulated.campaign import simulation_of, sweeps
from tests.faults.simulated.cases import FAULTS, Case, FaultLevel
from tests.faults.simulated.faulty_store import Fault


def main(
    seed: Annotated[int, typer.Option(help="Seed of the interleaving of calls.")] = 0,
    level: Annotated[FaultLevel | None, typer.Option(help="Only faults at this level.")] = None,
    fault: Annotated[Fault | None, typer.Option(help="Only this fault.")] = None,
    call: Annotated[
        int | None, typer.Option(min=1, help="Only at the call with this number.")
    ] = None,
) -> None:
    """Inject a fault at every store call of a small build, resume it, and compare the result."""
    if call is not None:
        if level is None or fault is None:
            raise typer.BadParameter("one case is a --level, a --fault and a --call")
        _run_one(Case(level=level, seed=seed, fault=fault, at=call))
        return
    began = time.perf_counter()
    cases: Counter[str] = Counter()
    failures = []
    for sweep in sweeps(seed):
        if level in (None, sweep.level) and fault in (None, sweep.fault):
            count, failed = sweep.run(simulation_of(sweep.seed))
            cases[sweep.level] += count
            failures += failed
            print(
                f"{sweep.level:7} {sweep.fault:18} seed {sweep.seed:<4} {count:5} cases, "
                f"{len(failed)} failed"
            )
    for failure in failures:
        print(failure)
    seconds = time.perf_counter() - began
    print(f"{cases.total()} cases, {len(failures)} failed, {seconds:.0f} s")
    if failures:
        raise typer.Exit(1)


def _run_one(case: Case) -> None:
    if case.fault not in FAULTS[case.level]:
        raise typer.BadParameter(f"{case.fault} is no fault of the level {case.level}")
    failure = simulation_of(case.seed).run(case)
    print(failure or "ended in the bytes of an undisturbed build")
    if failure:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
