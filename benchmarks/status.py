"""Measure how long ``npd status`` takes on a large build.

    python -m benchmarks.status [--repeats 3] [--units 100000] [--s3-units 20000]

The store has a plan with 64 candidates per unit and a receipt for every unit. The receipts that are
read by default are complete (64 outcomes with two rewards, 35 kB); the others are empty files,
because they are only listed. Each repeat runs the command in a new process, and reports its seconds
and its peak memory. On S3 (SeaweedFS on this machine, which shares its cores) there are fewer
units; 0 leaves this part out. Goal: 100,000 units in less than 30 s and 500 MB.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from time import perf_counter

import torch

from benchmarks.resume import BUCKET, PUTS_AT_ONCE, STAND_IN, large_config, write_prompts
from infra.storage.seaweedfs import SeaweedFS
from pipeline.config.plan import Plan
from pipeline.core.fingerprint import fingerprint
from pipeline.core.records import SCHEMA_VERSION, NoiseStats, Outcome, Split, Status
from pipeline.storage import layout
from pipeline.storage.formats.prompts import PromptTable
from pipeline.storage.open import open_store
from pipeline.storage.plans import write_plan
from pipeline.storage.receipts import Receipt
from pipeline.workflows.plan import make_plan
from pipeline.workflows.status import MAX_RECEIPTS

DIGEST = "0" * 64


def receipt_bytes(plan: Plan, unit: int) -> bytes:
    """Return a complete receipt with invented scores."""
    stats = NoiseStats(cosine=0.9, relative_change=0.4, mean=1e-3, std=1.001, kurtosis=-0.01)
    scores: dict[str, float | None] = dict.fromkeys(plan.reward_names, 0.123456789)
    outcomes = tuple(
        Outcome(
            candidate=candidate,
            sample_id=f"{candidate:016x}-{candidate:08x}",
            prompt_id=f"{candidate:016x}",
            split=Split.TRAIN,
            seed=candidate,
            status=Status.KEPT if candidate % 2 else Status.REJECTED,
            reason=None if candidate % 2 else "reward:scene",
            truncated=False,
            source_rewards=scores,
            golden_rewards=scores,
            noise_stats=stats,
            num_bytes=65536 if candidate % 2 else 0,
            proposal="redenoise",
            forward_evaluations=80,
        )
        for candidate in plan.unit_range(unit)
    )
    receipt = Receipt(
        schema_version=SCHEMA_VERSION,
        plan_id=plan.plan_id,
        unit=unit,
        data_key=layout.unit_key(plan.plan_id, unit, DIGEST),
        data_sha256=DIGEST,
        data_bytes=32 * 65536,
        latent_shape=(4, 128, 128),
        outcomes=outcomes,
        forward_evaluations=80 * len(outcomes),
        fingerprint=fingerprint(torch.device("cpu")),
        attempt_id="a" * 32,
        host="node-1",
        started="2026-01-01T00:00:00+00:00",
        compute_seconds=90.0,
    )
    return receipt.model_dump_json().encode()


def step_of(units: int) -> int:
    """Return the distance of the receipts that the command reads."""
    step = 1
    while units > step * MAX_RECEIPTS:
        step *= 2
    return step


def fill(
    put: Callable[[str, bytes], object], plan: Plan, table: PromptTable, units: int, url: str
) -> None:
    """Write the plan and a receipt for each of the first units."""
    write_plan(open_store(url), plan, table)
    step = step_of(units)

    def write(unit: int) -> None:
        data = STAND_IN if unit % step else receipt_bytes(plan, unit)
        put(layout.receipt_key(plan.plan_id, unit), data)

    with ThreadPoolExecutor(PUTS_AT_ONCE) as pool:
        for _ in pool.map(write, range(units)):
            pass


_RUN = """
import sys
from contextlib import suppress
from pathlib import Path
from pipeline.cli.app import main
with suppress(SystemExit):
    main()
# Unlike ru_maxrss, it does not count the process that started this one.
print(1024 * int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]))
"""
"""Program that runs the command and then prints the peak of its memory in bytes."""


def measure(what: str, url: str, repeats: int) -> None:
    """Print the seconds and the peak memory of the command."""
    seconds, peaks = [], []
    for _ in range(repeats):
        begin = perf_counter()
        command = [sys.executable, "-c", _RUN, "status", url]
        ended = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
        seconds.append(perf_counter() - begin)
        *shown, peak = ended.stdout.splitlines()
        peaks.append(int(peak))
    print("\n".join(shown))
    each = ", ".join(f"{one:.1f}" for one in seconds)
    print(f"{what}: {median(seconds):.1f} s ({each}), peak {max(peaks) / 1e6:.0f} MB\n")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--units", type=int, default=100_000)
    parser.add_argument("--s3-units", type=int, default=20_000, help="units on S3")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="npd-status-") as name:
        work = Path(name)
        prompts = work / "prompts.txt"
        write_prompts(prompts, options.units)
        plan, table = make_plan(large_config(prompts))
        folder = work / "store"
        (folder / layout.receipts_prefix(plan.plan_id)).mkdir(parents=True)

        def write(key: str, data: bytes) -> None:
            # Without the durability of the store, which would take most of the time.
            (folder / key).write_bytes(data)

        fill(write, plan, table, options.units, str(folder))
        measure(f"folder, {options.units:,} units", str(folder), options.repeats)
        if options.s3_units:
            with SeaweedFS(work / "seaweedfs") as server:
                server.create_bucket(BUCKET)
                os.environ.update(server.env())
                url = f"s3://{BUCKET}/npd"
                fill(open_store(url).put, plan, table, options.s3_units, url)
                measure(f"S3, {options.s3_units:,} units", url, options.repeats)


if __name__ == "__main__":
    main()
