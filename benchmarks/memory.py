"""Measure whether memory grows with the number of units or the size of a data set.

    python -m benchmarks.memory
    python -m benchmarks.memory --set-gigabytes 0.5 3

Compares resident memory late and early in a build. Worker: a real one with the demo models and
small units, after 200 units and after 20. Driver: this process with a stand-in worker, after 10,000
units and after 1,000. Goal: within 5% each.

With ``--set-gigabytes``, it measures the peaks of all commands and of the reader over complete data
sets of these sizes instead. A size takes three times as much room on the disk.
"""

import argparse
import os
import tempfile
from pathlib import Path

import psutil
import ray

from benchmarks.command_memory import command_memory
from benchmarks.workload import demo_config, drive, open_in, warm_workers
from pipeline.cluster.driver import Driver
from pipeline.cluster.messages import HealthStatus, Work
from pipeline.cluster.ray_session import ray_session
from pipeline.config.sections import ClusterConfig
from pipeline.monitor.unit_summary import UnitSummary
from pipeline.storage.receipts import Commit

GOAL = 0.05
WORKER_MARKS = (20, 50, 100, 150, 200)
DRIVER_MARKS = (1_000, 2_500, 5_000, 7_500, 10_000)


class StandIn:
    """A stand-in worker that does nothing."""

    def set_up(self) -> None:
        """Do nothing."""

    def health_check(self) -> HealthStatus:
        """Report the worker as alive."""
        return HealthStatus(count=0, leaving=False, node=ray.get_runtime_context().get_node_id())

    def run(self, work: Work) -> UnitSummary:
        """Report the unit as done."""
        return UnitSummary(
            unit=work.unit,
            candidates=64,
            judged=64,
            kept=32,
            rejected=32,
            failed=0,
            compute_seconds=60.0,
            commit=Commit.MINE,
        )


def worker_memory() -> dict[int, int]:
    """Return resident bytes of a real worker after each number of units."""
    units = max(WORKER_MARKS)
    config = demo_config(units=units, unit_size=8, num_inference_steps=2)
    with tempfile.TemporaryDirectory(prefix="npd-memory-") as folder, ray_session(config.cluster):
        worker = warm_workers(open_in(Path(folder), config), 1)
        process = _unit_worker()
        seen = {}
        for done, _ in enumerate(drive(worker, range(1, units)), start=2):
            if done in WORKER_MARKS:
                seen[done] = process.memory_info().rss
    return seen


def driver_memory() -> dict[int, int]:
    """Return resident bytes of this process after each number of units of a stand-in worker."""
    config = demo_config(units=1, unit_size=1)
    with ray_session(config.cluster):
        stand_in = ray.remote(StandIn).options(max_concurrency=3)
        driver = Driver(stand_in.remote, ClusterConfig(workers=2), unit_size=lambda unit: 64)
        process = psutil.Process(os.getpid())
        seen = {}
        for done, _ in enumerate(driver.run(iter(range(max(DRIVER_MARKS)))), start=1):
            if done in DRIVER_MARKS:
                seen[done] = process.memory_info().rss
    return seen


def _unit_worker() -> psutil.Process:
    """Return the process of the only real worker. Ray names it after its class."""
    found = [
        process
        for process in psutil.Process().children(recursive=True)
        if any("WorkerActor" in part for part in process.cmdline()[:1])
    ]
    assert len(found) == 1, found
    return found[0]


def show(name: str, seen: dict[int, int]) -> bool:
    """Print a table and return True if the goal is met."""
    first, *_, last = seen
    print(f"{name:>8} {'units':>8} {'resident':>12} {'change':>8}")
    for done, size in seen.items():
        print(f"{'':8} {done:8,} {size / 1e6:9.1f} MB {size / seen[first] - 1:8.1%}")
    growth = seen[last] / seen[first] - 1
    met = abs(growth) <= GOAL
    print(
        f"{name}: {growth:+.1%} from {first:,} to {last:,} units, goal within {GOAL:.0%}: "
        f"{'met' if met else 'MISSED'}\n",
        flush=True,
    )
    return met


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--set-gigabytes", type=float, nargs="+", default=())
    options = parser.parse_args()
    if options.set_gigabytes:
        command_memory(options.set_gigabytes)
        return
    # The driver is measured first: what this process loads for the worker would hide its growth.
    show("driver", driver_memory())
    show("worker", worker_memory())


if __name__ == "__main__":
    main()
