"""Measure how long it takes to resume a large plan.

    python -m benchmarks.resume [--repeats 3] [--units 1000000] [--s3-units 100000]

Measures planning, listing the receipts, and finding the remaining units. The plan has 64 candidates
per unit and 100 seeds per prompt, and stand-ins for its receipts, of which every thousandth is
missing. Making them is not counted. Each repeat runs in a new process that does what ``npd build``
does before it starts a worker. Memory is the peak of that process so far. On S3 (SeaweedFS on this
machine, which shares its cores) there are fewer receipts, and the listing time is scaled to all
units; 0 leaves this part out.
Goal: a million units in less than 60 s and 2 GB, in a folder.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TypeVar

from infra.storage.seaweedfs import SeaweedFS
from pipeline.config.file import load_config
from pipeline.config.plan import Plan
from pipeline.config.sections import Config
from pipeline.storage import layout
from pipeline.storage.open import open_store
from pipeline.workflows.build import open_build, units_done
from pipeline.workflows.plan import make_plan

GOAL_SECONDS, GOAL_BYTES = 60.0, 2e9
UNIT_SIZE, SEEDS_PER_PROMPT = 64, 100
ONE_MISSING_IN = 1000
BUCKET = "resume"
STAND_IN = b"{}"
PUTS_AT_ONCE = 16

T = TypeVar("T")

Steps = dict[str, tuple[float, int]]
"""Seconds of a step, and peak bytes at its end."""


def large_config(prompts: Path) -> Config:
    """Return the demo's configuration with other prompts, in units of 64 candidates."""
    demo = load_config("demo")
    large = {"path": str(prompts), "seeds_per_prompt": SEEDS_PER_PROMPT}
    return demo.model_copy(
        update={
            "prompts": demo.prompts.model_copy(update=large),
            "units": demo.units.model_copy(update={"size": UNIT_SIZE}),
        }
    )


def write_prompts(path: Path, units: int) -> None:
    """Write distinct prompts of typical length, enough for this number of units."""
    count = -(-units * UNIT_SIZE // SEEDS_PER_PROMPT)
    with path.open("w") as file:
        for number in range(count):
            file.write(f"a photograph of house number {number} by the sea, at dawn, in the snow\n")


def is_missing(unit: int) -> bool:
    """Return True if a unit has no receipt."""
    return unit % ONE_MISSING_IN == 7


def fill_folder(folder: Path, plan: Plan, units: int) -> None:
    """Write stand-ins for receipts, without the durability of the store."""
    (folder / layout.receipts_prefix(plan.plan_id)).mkdir(parents=True)
    for unit in range(units):
        if not is_missing(unit):
            (folder / layout.receipt_key(plan.plan_id, unit)).write_bytes(STAND_IN)


def fill_bucket(url: str, plan: Plan, units: int) -> None:
    """Write stand-ins for receipts on S3."""
    store = open_store(url)
    keys = (layout.receipt_key(plan.plan_id, unit) for unit in range(units) if not is_missing(unit))
    with ThreadPoolExecutor(PUTS_AT_ONCE) as pool:
        for _ in pool.map(lambda key: store.put(key, STAND_IN), keys):
            pass


def resume(url: str, prompts: Path) -> Steps:
    """Run every step up to the list of the remaining units, in this process."""
    steps: Steps = {}

    def timed(name: str, step: Callable[[], T]) -> T:
        begin = perf_counter()
        result = step()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        steps[name] = (perf_counter() - begin, peak)
        return result

    opened = timed("plan and find it", lambda: open_build(open_store(url), large_config(prompts)))
    done = timed("list receipts", lambda: units_done(opened))
    left = timed("decide", lambda: [unit for unit, is_done in enumerate(done) if not is_done])
    assert sum(done) + len(left) == opened.plan.num_units
    assert left[:2] == [7, 7 + ONE_MISSING_IN]
    return steps


def resume_elsewhere(url: str, prompts: Path) -> Steps:
    """Run ``resume`` in a new process."""
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.resume", "--resume", url, str(prompts)],
        stdout=subprocess.PIPE,
        check=True,
    )
    steps: Steps = json.loads(ended.stdout)
    return steps


def measure(url: str, prompts: Path, repeats: int) -> Steps:
    """Print medians over several processes."""
    runs = [resume_elsewhere(url, prompts) for _ in range(repeats)]
    medians = {
        name: (
            median(run[name][0] for run in runs),
            int(median(run[name][1] for run in runs)),
        )
        for name in runs[0]
    }
    print(f"{'':20} {'seconds':>8} {'peak':>10}   all seconds")
    for name, (seconds, peak) in medians.items():
        each = ", ".join(f"{run[name][0]:.2f}" for run in runs)
        print(f"{name:20} {seconds:8.2f} {peak / 1e6:7.0f} MB   {each}", flush=True)
    return medians


def show_goal(steps: Steps) -> None:
    """Print the sum of the steps and the goal."""
    seconds = sum(seconds for seconds, _ in steps.values())
    peak = max(peak for _, peak in steps.values())
    met = seconds < GOAL_SECONDS and peak < GOAL_BYTES
    print(
        f"together {seconds:.1f} s and {peak / 1e9:.2f} GB, goal less than {GOAL_SECONDS:.0f} s "
        f"and {GOAL_BYTES / 1e9:.0f} GB: {'met' if met else 'MISSED'}\n",
        flush=True,
    )


def in_folder(work: Path, prompts: Path, plan: Plan, repeats: int) -> None:
    """Measure with all receipts in a folder."""
    folder = work / "store"
    fill_folder(folder, plan, plan.num_units)
    print(f"folder, {plan.num_units:,} units of {plan.num_candidates:,} candidates")
    show_goal(measure(str(folder), prompts, repeats))


def on_s3(work: Path, prompts: Path, plan: Plan, units: int, repeats: int) -> None:
    """Measure with the first receipts on S3, and scale the listing time to all units."""
    with SeaweedFS(work / "seaweedfs") as server:
        server.create_bucket(BUCKET)
        os.environ.update(server.env())
        url = f"s3://{BUCKET}/npd"
        fill_bucket(url, plan, units)
        print(f"S3, receipts of {units:,} of {plan.num_units:,} units")
        steps = measure(url, prompts, repeats)
    name = "list receipts"
    seconds = steps[name][0] * plan.num_units / units
    print(f"listing scaled to {plan.num_units:,} units: {seconds:.0f} s")
    show_goal(steps | {name: (seconds, steps[name][1])})


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--units", type=int, default=1_000_000, help="units of the plan")
    parser.add_argument("--s3-units", type=int, default=100_000, help="units with receipts on S3")
    parser.add_argument("--resume", nargs=2, metavar=("URL", "PROMPTS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.resume:
        url, path = options.resume
        print(json.dumps(resume(url, Path(path))))
        return
    with tempfile.TemporaryDirectory(prefix="npd-resume-") as work:
        prompts = Path(work) / "prompts.txt"
        write_prompts(prompts, options.units)
        plan, table = make_plan(large_config(prompts))
        del table
        in_folder(Path(work), prompts, plan, options.repeats)
        if options.s3_units:
            on_s3(Path(work), prompts, plan, options.s3_units, options.repeats)


if __name__ == "__main__":
    main()
