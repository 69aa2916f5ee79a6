"""Measure how many units one driver settles with a thousand workers, and its memory.

    python -m benchmarks.driver [--workers 1000] [--units 100000] [--unit-seconds 2]
    python -m benchmarks.driver --ray

The driver and its pool are those of a build. Ray is simulated in this process (the file
``simulated_ray.py``), because a machine cannot hold a thousand worker processes: its calls end
after a random time of ``--unit-seconds`` on average. A tenth of the workers joins late. One unit in
100 fails at an attempt, one in 1,000 takes ten times as long, and at one in 2,000 its worker dies.
Every unit must be done exactly once. The CPU time is that of the driver, without the simulation.
Goal: 200 units a second, and memory within 5%.

``--ray`` measures what the real Ray adds instead: sending a unit, fetching its result, waiting for
two calls of each worker, and looking for the process of a worker.
"""

import argparse
import logging
import os
import threading
from time import perf_counter, process_time
from typing import Any

import psutil
import ray

from benchmarks.simulated_ray import Rates, SimulatedRay
from pipeline.cluster.driver import Driver
from pipeline.cluster.messages import Work
from pipeline.cluster.ray_session import ended_calls, process_of, ray_session
from pipeline.config.sections import ClusterConfig
from pipeline.monitor.progress import BuildProgress

GOAL_RATE, GOAL_GROWTH = 200.0, 0.05
UNIT_SIZE = 64
MARKS = 10
RATES = Rates(fails=0.01, slow=0.001, dies=0.0005, joins_late=0.1)


def measure(workers: int, units: int, unit_seconds: float) -> None:
    """Drive the units and print the rate, the memory and the events."""
    simulated = SimulatedRay(RATES, unit_seconds=unit_seconds, load_seconds=1.0, late_seconds=10.0)
    config = ClusterConfig(workers=workers)
    progress = BuildProgress(total=units)
    done = bytearray(units)
    process = psutil.Process(os.getpid())
    print(f"{'units':>9} {'seconds':>8} {'units/s':>8} {'driver':>7} {'resident':>11}")
    memory: list[int] = []
    with simulated.in_place_of_ray():
        driver = Driver(
            simulated.spawn, config, unit_size=lambda unit: UNIT_SIZE, progress=progress
        )
        begin = before = perf_counter()
        busy = process_time()
        for count, summary in enumerate(driver.run(iter(range(units))), start=1):
            done[summary.unit] += 1
            if count % (units // MARKS) == 0:
                now = perf_counter()
                memory.append(process.memory_info().rss)
                share = (process_time() - busy - simulated.cpu_seconds) / (now - begin)
                print(
                    f"{count:9,} {now - begin:8.1f} {units / MARKS / (now - before):8.0f} "
                    f"{share:7.0%} {memory[-1] / 1e6:8.1f} MB",
                    flush=True,
                )
                before = now
        seconds = perf_counter() - begin
        cpu = process_time() - busy - simulated.cpu_seconds
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


class Host:
    """An actor with a call that ends at once and one that waits."""

    def __init__(self) -> None:
        self._open = threading.Event()

    def unit(self, work: Work) -> Work:
        """Return at once."""
        return work

    def wait(self) -> None:
        """Wait until the actor is killed."""
        self._open.wait()


def measure_ray(workers: int) -> None:
    """Print the milliseconds of each call of the driver to a real Ray."""
    with ray_session(ClusterConfig(workers=1)):
        host: Any = ray.remote(Host).options(max_concurrency=4).remote()
        ray.get(host.unit.remote(Work(unit=0)))
        begin = perf_counter()
        calls = [host.unit.remote(Work(unit=unit)) for unit in range(1000)]
        sent = perf_counter()
        ray.get(calls)
        each = perf_counter()
        for call in calls:
            ray.get(call)
        got = perf_counter()
        pending = [host.wait.remote() for _ in range(2 * workers)]
        rounds = 20
        waited = perf_counter()
        for number in range(rounds):
            assert ended_calls([*pending, calls[number]], 1.0) == [calls[number]]
        found = perf_counter()
        for _ in range(100):
            assert process_of(host) is not None
        looked = perf_counter()
    print(f"{sent - begin:.3f} ms to send a unit")
    print(f"{got - each:.3f} ms to fetch a result")
    print(f"{1e3 * (found - waited) / rounds:.1f} ms to wait for {2 * workers:,} calls")
    print(f"{10 * (looked - found):.2f} ms to look for the process of a worker that waits")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--units", type=int, default=100_000)
    parser.add_argument("--unit-seconds", type=float, default=2.0)
    parser.add_argument("--ray", action="store_true")
    options = parser.parse_args()
    if options.ray:
        measure_ray(options.workers)
        return
    # Failures are logged as in a build, but not shown.
    logging.getLogger("pipeline").addHandler(logging.NullHandler())
    logging.getLogger("pipeline").propagate = False
    measure(options.workers, options.units, options.unit_seconds)


if __name__ == "__main__":
    main()
