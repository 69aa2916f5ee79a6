"""Measure the cost of orchestration: the compute phase of a build against a plain loop.

    python -m benchmarks.overhead [--repeats 15] [--units 8] [--unit-size 8]

Build: the driver, one warm Ray worker, packing, upload, and receipts in a local folder.
Plain loop: ``produce_unit`` on the same candidates in the same batches, in this process, on one
thread, with the same settings. Both take turns, so that other load on the machine affects both, and
each turn gives a ratio. The median of the ratios is printed with its 95% interval, which assumes
nothing about their distribution.
``idle`` is the time in which the worker had nothing to compute. It is the cost of orchestration on
an otherwise idle machine and is hardly affected by noise.
Goal: a median of at most 1.02. A unit takes about a second here and minutes with SDXL. The overhead
per unit is the same, so the ratio is closer to 1 there.
"""

import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from math import comb
from pathlib import Path
from statistics import median
from time import perf_counter

from benchmarks.workload import demo_config, drive, open_in, read_options, warm_workers
from pipeline.cluster.ray_session import ray_session
from pipeline.config.sections import Config
from pipeline.core.determinism import be_deterministic
from pipeline.models.load import default_device, load_denoiser, load_rewards
from pipeline.models.resolved_models import ResolvedModels
from pipeline.stages.build_spec import BuildSpec
from pipeline.stages.unit import produce_unit
from pipeline.workflows.build import BuildContext

GOAL = 1.02


class BareLoop:
    """The same model calls without Ray, store and receipts."""

    def __init__(self, opened: BuildContext) -> None:
        self._opened = opened
        self._spec = BuildSpec.of(opened.plan)
        # As in a worker: one computing thread, in which the torch settings are made.
        self._compute = ThreadPoolExecutor(max_workers=1, initializer=be_deterministic)
        self._compute.submit(self._load).result()
        self.seconds(range(1))

    def seconds(self, units: range) -> float:
        """Return the wall time of these units."""
        begin = perf_counter()
        for unit in units:
            self._compute.submit(self._produce, unit).result()
        return perf_counter() - begin

    def _load(self) -> None:
        device = default_device()
        models = ResolvedModels(self._opened.config)
        self._denoiser = load_denoiser(models.model, device)
        self._rewards = load_rewards(models.rewards, device)

    def _produce(self, unit: int) -> None:
        positions = self._opened.plan.unit_range(unit)
        candidates = list(self._opened.prompts.candidates(self._opened.plan, positions))
        produce_unit(candidates, self._denoiser, self._rewards, self._spec)


def build_seconds(config: Config, units: range) -> tuple[float, float]:
    """Return the wall time of these units in a build with one warm worker, from an empty store.

    Also returns the part of it in which the worker's computing thread was idle.
    """
    with tempfile.TemporaryDirectory(prefix="npd-overhead-") as folder:
        workers = warm_workers(open_in(Path(folder), config), 1)
        begin = perf_counter()
        computing = [summary.compute_seconds for summary in drive(workers, units)]
        seconds = perf_counter() - begin
    assert len(computing) == len(units)
    return seconds, seconds - sum(computing)


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95% interval of a median: two of the values, by the sign test.

    Fewer than 6 values have none. The result then is their range.
    """
    ordered, count = sorted(values), len(values)
    rank, below = 0, 0.5**count
    # ``below`` is the probability that at most ``rank`` values lie below the true median.
    while below <= 0.025 and rank < count // 2:
        rank += 1
        below += comb(count, rank) * 0.5**count
    rank = max(rank - 1, 0)
    return ordered[rank], ordered[-1 - rank]


def main() -> None:
    """Measure and print."""
    options = read_options(__doc__.splitlines()[0], repeats=15, units=8)
    # Unit 0 warms both up and is not counted.
    units = range(1, 1 + options.units)
    config = demo_config(units=1 + options.units, unit_size=options.unit_size)
    config = config.model_copy(update={"cluster": config.cluster.model_copy(update={"workers": 1})})
    with tempfile.TemporaryDirectory(prefix="npd-overhead-") as folder, ray_session(config.cluster):
        bare = BareLoop(open_in(Path(folder), config))
        print(f"{options.units} units of {options.unit_size} candidates; wall time in seconds")
        print(f"{'repeat':>8} {'build':>8} {'bare':>8} {'ratio':>8} {'idle':>8}")
        builds, bares, idles = [], [], []
        for repeat in range(options.repeats):
            # The order alternates, because a machine warms up or slows down in one direction.
            if repeat % 2:
                bares.append(bare.seconds(units))
            seconds, idle = build_seconds(config, units)
            builds.append(seconds)
            idles.append(idle)
            if not repeat % 2:
                bares.append(bare.seconds(units))
            ratio = builds[-1] / bares[-1]
            print(
                f"{repeat:8} {builds[-1]:8.2f} {bares[-1]:8.2f} {ratio:8.3f} {idle:8.3f}",
                flush=True,
            )
    ratios = [build / bare_loop for build, bare_loop in zip(builds, bares, strict=True)]
    ratio, idle = median(ratios), median(idles)
    print(f"{'median':>8} {median(builds):8.2f} {median(bares):8.2f} {ratio:8.3f} {idle:8.3f}")
    low, high = median_interval(ratios)
    print(
        f"overhead ratio {ratio:.3f} [{low:.3f}, {high:.3f}], idle {idle / median(builds):.2%}; "
        f"goal at most {GOAL}: {'met' if ratio <= GOAL else 'MISSED'}"
    )


if __name__ == "__main__":
    main()
