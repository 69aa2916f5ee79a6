"""Measure what metrics cost a worker: CPU time of units with and without publishing them.

    python -m benchmarks.metrics [--repeats 10] [--unit-size 8]

A worker in this process, connected to a local Ray, computes and commits units of the demo. It
publishes its metrics in every other unit; the order alternates. The time is that of all threads of
the process, so other load on the machine hardly changes it. Units of equal work still differ by
more than metrics cost, so the difference has an interval: its upper end is what the pairs can
exclude. Beside it stands the direct cost: CPU seconds of the publishing thread for each second, and
of the bookkeeping for each unit. Goal: at most 0.5% of a unit. A unit takes about two seconds here
and minutes with SDXL, and the bookkeeping costs the same.
"""

import tempfile
from collections.abc import Sequence
from math import comb
from pathlib import Path
from statistics import median
from time import process_time, thread_time

import torch

from benchmarks.workload import demo_config, open_in, read_options
from pipeline.cluster.messages import Work
from pipeline.cluster.metrics_publisher import MetricsPublisher
from pipeline.cluster.ray_session import ray_session
from pipeline.cluster.worker import UnitWorker
from pipeline.monitor.unit_summary import UnitSummary
from pipeline.stages.stage_clock import Stage, StageClock
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.receipts import Commit, read_receipt

GOAL = 0.005

_CYCLES = 200


def main() -> None:
    """Measure and print."""
    options = read_options(__doc__.splitlines()[0], repeats=10, units=1)
    config = demo_config(units=1 + 2 * options.repeats, unit_size=options.unit_size)
    with tempfile.TemporaryDirectory(prefix="npd-metrics-") as folder, ray_session(config.cluster):
        opened = open_in(Path(folder), config)
        plan_id = opened.plan.plan_id
        worker = UnitWorker(opened.store.url, plan_id, config)
        worker.set_up()
        worker.run(Work(unit=0))
        publisher = MetricsPublisher(plan_id, worker.samples)

        pairs = []
        for repeat in range(options.repeats):
            first = bool(repeat % 2)
            seconds = {
                first: _unit_seconds(worker, plan_id, 1 + 2 * repeat, on=first),
                not first: _unit_seconds(worker, plan_id, 2 + 2 * repeat, on=not first),
            }
            pairs.append((seconds[True], seconds[False]))
        plain = median(off for _, off in pairs)
        differences = [(on - off) / plain for on, off in pairs]

        begin = thread_time()
        for _ in range(_CYCLES):
            publisher.publish()
        cycle = (thread_time() - begin) / _CYCLES
        bookkeeping = _bookkeeping_seconds(opened.store, plan_id)

    print(f"a unit of {options.unit_size} candidates: {plain:.3f} s of CPU (median)")
    low, high = median_interval(differences)
    print(
        f"with metrics: {median(differences):+.2%} [{low:+.2%}, {high:+.2%}] "
        f"(median of {len(differences)} pairs, 95% interval by order statistics)"
    )
    if high > GOAL:
        print(f"these pairs exclude only an overhead above {high:.2%}; more --repeats exclude less")
    print(f"one publication, each second: {cycle * 1e3:.3f} ms ({cycle:.3%} of a CPU)")
    print(f"bookkeeping of a unit: {bookkeeping * 1e3:.3f} ms ({bookkeeping / plain:.3%} of it)")
    share = cycle + bookkeeping / plain
    verdict = "met" if share <= GOAL else "MISSED"
    print(f"direct cost {share:.3%}, goal at most {GOAL:.1%}: {verdict}")


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the ends of a 95% interval of the median, without an assumption on the distribution.

    The interval from the k-th smallest to the k-th largest value misses the median if fewer than k
    values lie on one side of it, which is a binomial probability.
    """
    ordered, below, k = sorted(values), 0, 0
    while 2 * (below + comb(len(ordered), k)) <= 0.05 * 2 ** len(ordered):
        below += comb(len(ordered), k)
        k += 1
    return ordered[max(k - 1, 0)], ordered[min(-k, -1)]


def _unit_seconds(worker: UnitWorker, plan_id: str, unit: int, *, on: bool) -> float:
    """Return the CPU seconds of this process for one unit."""
    begin = process_time()
    if on:
        with MetricsPublisher(plan_id, worker.samples):
            worker.run(Work(unit=unit))
    else:
        worker.run(Work(unit=unit))
    return process_time() - begin


def _bookkeeping_seconds(store: ObjectStore, plan_id: str) -> float:
    """Return the CPU seconds of the stage clock and of the sums of one unit."""
    receipt = read_receipt(store, plan_id, 0)
    clock = StageClock(torch.device("cpu"))
    begin = thread_time()
    for _ in range(_CYCLES):
        # Two batches' worth of measurements, and the sums over the outcomes.
        for stage in (*Stage, *Stage):
            with clock.measure(stage):
                pass
        UnitSummary.of(receipt, Commit.MINE)
    return (thread_time() - begin) / _CYCLES


if __name__ == "__main__":
    main()
