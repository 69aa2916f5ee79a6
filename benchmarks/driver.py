"""Measure how many units one driver settles with a thousand workers, and its memory.

    python -m benchmarks.driver [--workers 1000] [--units 100000] [--unit-seconds 2]

The driver and its pool are those of a build. Ray is simulated in this process (the file
``simulated_ray.py``), because a machine cannot hold a thousand worker processes: its calls end
after a random time of ``--unit-seconds`` on average. A tenth of the workers joins late. One unit in
100 fails at an attempt, one in 1,000 takes ten times as long, and at one in 2,000 its worker dies.
Every unit must be done exactly once. The CPU time is that of the driver, without the simulation.
Goal: 200 units a second, and memory within 5%.
"""

import argparse
import logging
import os
from time import perf_counter, process_time

import psutil

from benchmarks.simulated_ray import Rates, SimulatedRay
from pipeline.cluster.driver import Driver
from pipeline.config.sections import ClusterConfig
from pipeline.monitor.progress import BuildProgress

GOAL_RATE, GOAL_GROWTH = 200.0, 0.05
UNIT_SIZE = 64
MARKS = 10
RATES = Rates(fails=0.01, slow=0.001, dies=0.0005, joins_late=0.1)


def measure(workers: int, units: int, unit_seconds: float) -> None:
    """Drive the units and print the rate, the memory and the events."""
    ray = SimulatedRay(RATES, unit_seconds=unit_seconds, load_seconds=1.0, late_seconds=10.0)
    config = ClusterConfig(workers=workers)
    progress = BuildProgress(total=units)
    done = bytearray(units)
    process = psutil.Process(os.getpid())
    print(f"{'units':>9} {'seconds':>8} {'units/s':>8} {'driver':>7} {'resident':>11}")
    memory: list[int] = []
    with ray.in_place_of_ray():
        driver = Driver(ray.spawn, config, unit_size=lambda unit: UNIT_SIZE, progress=progress)
        begin = before = perf_counter()
        busy = process_time()
        for count, summary in enumerate(driver.run(iter(range(units))), start=1):
            done[summary.unit] += 1
            if count % (units // MARKS) == 0:
                now = perf_counter()
                memory.append(process.memory_info().rss)
                share = (process_time() - busy - ray.cpu_seconds) / (now - begin)
                print(
                    f"{count:9,} {now - begin:8.1f} {units / MARKS / (now - before):8.0f} "
                    f"{share:7.0%} {memory[-1] / 1e6:8.1f} MB",
                    flush=True,
                )
                before = now
        seconds = perf_counter() - begin
        cpu = process_time() - busy - ray.cpu_seconds
    assert done == b"\1" * units, "a unit is missing or done twice"
    failed = sum(progress.failed_attempts.values())
    print(
        f"{failed:,} failed attempts, {sum(progress.replaced.values())} workers replaced "
        f"({dict(progress.replaced)}), {progress.late} late units sent twice"
    )
    growth = memory[-1] / memory[0] - 1
    met = units / seconds >= GOAL_RATE and abs(growth) <= GOAL_GROWTH
    print(
        f"{units / seconds:.0f} units/s with {workers:,} workers, which could do "
        f"{2 * workers / unit_seconds:.0f}; the driver's CPU time, {1e3 * cpu / units:.2f} ms a "
        f"unit, allows {units / cpu:.0f}; memory {growth:+.1%}; goal at least {GOAL_RATE:.0f} "
        f"units/s and {GOAL_GROWTH:.0%}: {'met' if met else 'MISSED'}",
        flush=True,
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--units", type=int, default=100_000)
    parser.add_argument("--unit-seconds", type=float, default=2.0)
    options = parser.parse_args()
    # Failures are logged as in a build, but not shown.
    logging.getLogger("pipeline").addHandler(logging.NullHandler())
    logging.getLogger("pipeline").propagate = False
    measure(options.workers, options.units, options.unit_seconds)


if __name__ == "__main__":
    main()
