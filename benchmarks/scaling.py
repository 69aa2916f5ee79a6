"""Measure the speed-up of a second worker, in candidates per second.

    python -m benchmarks.scaling [--repeats 3] [--units 32] [--unit-size 8]

Measures the compute phase only, with warm workers and one torch thread each. The wall time runs
from the first unit to the last summary, so it includes the time in which one worker is idle at the
end. One and two workers take turns. Goal: at least 1.7 on two otherwise idle cores.
"""

import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

from benchmarks.workload import demo_config, drive, open_in, read_options, warm_workers
from pipeline.cluster.ray_session import ray_session
from pipeline.config.sections import Config

GOAL = 1.7


def candidates_per_second(config: Config, workers: int, units: range) -> float:
    """Return the rate of a build into an empty store."""
    with tempfile.TemporaryDirectory(prefix="npd-scaling-") as folder:
        warm = warm_workers(open_in(Path(folder), config), workers)
        begin = perf_counter()
        candidates = sum(summary.candidates for summary in drive(warm, units))
        return candidates / (perf_counter() - begin)


def main() -> None:
    """Measure and print."""
    options = read_options(__doc__.splitlines()[0], repeats=3, units=32)
    # The first two units warm the workers up and are not counted.
    units = range(2, 2 + options.units)
    config = demo_config(units=2 + options.units, unit_size=options.unit_size)
    rates: dict[int, list[float]] = {1: [], 2: []}
    with ray_session(config.cluster):
        print(f"{options.units} units of {options.unit_size} candidates; candidates a second")
        print(f"{'repeat':>8} {'one':>8} {'two':>8} {'ratio':>8}")
        for repeat in range(options.repeats):
            for workers in (1, 2) if repeat % 2 == 0 else (2, 1):
                rates[workers].append(candidates_per_second(config, workers, units))
            one, two = rates[1][-1], rates[2][-1]
            print(f"{repeat:8} {one:8.2f} {two:8.2f} {two / one:8.2f}", flush=True)
    one, two = median(rates[1]), median(rates[2])
    ratio = two / one
    print(f"{'median':>8} {one:8.2f} {two:8.2f} {ratio:8.2f}")
    print(f"scaling {ratio:.2f}, goal at least {GOAL}: {'met' if ratio >= GOAL else 'MISSED'}")


if __name__ == "__main__":
    main()
