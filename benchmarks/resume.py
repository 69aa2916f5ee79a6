"""Measure how long it takes to resume a large plan.

    python -m benchmarks.resume [--repeats 3] [--units 1000000] [--s3-units 1000000]

Measures planning, listing the receipts, and finding the remaining units. The plan has 64 candidates
per unit and 100 seeds per prompt, and stand-ins for its receipts, of which every thousandth is
missing. Making them is not counted. Each repeat runs in a new process that does what ``npd build``
does before it starts a worker. Memory is the peak of that process so far.

In turns with it, other processes only list the same receipts: with boto3 and with plain HTTP
requests on S3 (as many at once), with the system's calls in a folder. The ratio to the fastest of
them shows what the pipeline adds. On S3 (SeaweedFS on this machine, which shares its cores)
``--s3-units`` spreads fewer receipts over the plan, and the listing time is scaled to all units; 0
leaves this part out.
Goal: a million units in less than 60 s and 2 GB in a folder, and within 1.3 of plain listing on S3.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
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

GOAL_SECONDS, GOAL_BYTES, GOAL_RATIO = 60.0, 2e9, 1.3
UNIT_SIZE, SEEDS_PER_PROMPT = 64, 100
ONE_MISSING_IN = 1000
BUCKET, PREFIX = "resume", "npd"
LISTING = "list receipts"
STAND_IN = b"{}"
PUTS_AT_ONCE = 16

T = TypeVar("T")

Steps = dict[str, tuple[float, int, int]]
"""Seconds of a step, peak bytes at its end, and the units that are not done if it counts them."""


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


def fill_bucket(server: SeaweedFS, plan: Plan, step: int) -> None:
    """Write stand-ins for the receipts of every ``step``-th unit on S3."""
    root = f"/buckets/{BUCKET}/{PREFIX}/"
    units = (unit for unit in range(0, plan.num_units, step) if not is_missing(unit))
    keys = (root + layout.receipt_key(plan.plan_id, unit) for unit in units)
    # Without the S3 interface, which takes several times as long for an object.
    with ThreadPoolExecutor(PUTS_AT_ONCE) as pool:
        host = server.filer_url.removeprefix("http://")
        done = [pool.submit(post_files, host, part) for part in split(keys, PUTS_AT_ONCE)]
        for each in done:
            each.result()


def split(keys: Iterable[str], count: int) -> list[list[str]]:
    """Return the keys in several lists of the same length."""
    listed = list(keys)
    return [listed[start::count] for start in range(count)]


def post_files(host: str, paths: list[str]) -> None:
    """Write small files over one connection."""
    connection = HTTPConnection(host)
    for path in paths:
        connection.request("PUT", path, body=STAND_IN)
        reply = connection.getresponse()
        reply.read()
        if reply.status >= 300:
            raise RuntimeError(f"{path}: {reply.status} {reply.reason}")


def resume(url: str, prompts: Path) -> Steps:
    """Run every step up to the list of the remaining units, in this process."""
    steps: Steps = {}

    def timed(name: str, step: Callable[[], T]) -> T:
        begin = perf_counter()
        result = step()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        steps[name] = (perf_counter() - begin, peak, len(result) if isinstance(result, list) else 0)
        return result

    opened = timed("plan and find it", lambda: open_build(open_store(url), large_config(prompts)))
    done = timed(LISTING, lambda: units_done(opened))
    left = timed("decide", lambda: [unit for unit, is_done in enumerate(done) if not is_done])
    assert sum(done) + len(left) == opened.plan.num_units
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


def list_elsewhere(way: str, url: str, plan: Plan, expected: int) -> float:
    """Return the seconds of a plain listing in a new process."""
    arguments = [way, url, plan.plan_id, str(plan.num_units)]
    command = [sys.executable, "-m", "benchmarks.bare_listing", *arguments]
    ended = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    found, seconds = ended.stdout.split()
    assert int(found) == expected, f"{way} listed {found} of {expected} receipts"
    return float(seconds)


def measure(
    url: str, prompts: Path, plan: Plan, receipts: int, ways: Sequence[str], repeats: int
) -> Steps:
    """Print medians over several processes, in turns with plain listings."""
    runs, bare = [], []
    for _ in range(repeats):
        bare.append({way: list_elsewhere(way, url, plan, receipts) for way in ways})
        runs.append(resume_elsewhere(url, prompts))
        found = plan.num_units - runs[-1]["decide"][2]
        assert found == receipts, f"{found} of {receipts} receipts were found"
    medians: Steps = {}
    print(f"{'':26} {'seconds':>8} {'peak':>10}   all seconds")
    for name in runs[0]:
        seconds, peak = (median(run[name][at] for run in runs) for at in (0, 1))
        medians[name] = (seconds, int(peak), 0)
        each = ", ".join(f"{run[name][0]:.2f}" for run in runs)
        print(f"{name:26} {seconds:8.2f} {peak / 1e6:7.0f} MB   {each}", flush=True)
    ours = medians[LISTING][0]
    fastest = min(median(turn[way] for turn in bare) for way in ways)
    for way in ways:
        seconds = median(turn[way] for turn in bare)
        each = ", ".join(f"{turn[way]:.2f}" for turn in bare)
        print(f"{'plain listing, ' + way:26} {seconds:8.2f} {'':10}   {each}: {ours / seconds:.2f}")
    goal = ""
    if url.startswith("s3:"):
        goal = f", goal {GOAL_RATIO}: {'met' if ours / fastest <= GOAL_RATIO else 'MISSED'}"
    print(
        f"listing: {receipts / ours:,.0f} receipts/s, {ours / fastest:.2f} of the fastest plain "
        f"listing{goal}",
        flush=True,
    )
    return medians


def show_goal(steps: Steps) -> None:
    """Print the sum of the steps and the goal."""
    seconds = sum(seconds for seconds, _, _ in steps.values())
    peak = max(peak for _, peak, _ in steps.values())
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
    receipts = sum(not is_missing(unit) for unit in range(plan.num_units))
    print(f"folder, {plan.num_units:,} units of {plan.num_candidates:,} candidates")
    show_goal(measure(str(folder), prompts, plan, receipts, ["folder"], repeats))


def on_s3(work: Path, prompts: Path, plan: Plan, units: int, repeats: int) -> None:
    """Measure with receipts on S3 that are spread over the plan, and scale the listing time."""
    step = max(plan.num_units // units, 1)
    receipts = sum(not is_missing(unit) for unit in range(0, plan.num_units, step))
    with SeaweedFS(work / "seaweedfs") as server:
        server.create_bucket(BUCKET)
        os.environ.update(server.env())
        begin = perf_counter()
        fill_bucket(server, plan, step)
        print(
            f"S3, receipts of {receipts:,} of {plan.num_units:,} units, written in "
            f"{perf_counter() - begin:.0f} s",
            flush=True,
        )
        url = f"s3://{BUCKET}/{PREFIX}"
        steps = measure(url, prompts, plan, receipts, ["boto3", "http"], repeats)
    seconds, peak, _ = steps[LISTING]
    if step > 1:
        print(f"listing scaled to {plan.num_units:,} units: {seconds * step:.0f} s")
    show_goal(steps | {LISTING: (seconds * step, peak, 0)})


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--units", type=int, default=1_000_000, help="units of the plan")
    parser.add_argument("--s3-units", type=int, default=1_000_000, help="units with receipts on S3")
    parser.add_argument("--folder", action=argparse.BooleanOptionalAction, default=True)
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
        if options.folder:
            in_folder(Path(work), prompts, plan, options.repeats)
        if options.s3_units:
            on_s3(Path(work), prompts, plan, options.s3_units, options.repeats)


if __name__ == "__main__":
    main()
