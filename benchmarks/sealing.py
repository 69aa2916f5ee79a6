"""Measure how long it takes to seal many small units, and in how much memory.

    python -m benchmarks.sealing [--units 10000 30000 100000] [--s3-units 3000 10000]

The units are synthetic: 8 candidates with noises of 4 x 8 x 8 values, of which 60% are kept. Making
them is not counted. Each size is sealed in a new process, from the first receipt to ``_SUCCESS``.
Compaction runs in the same process, one shard after the other; on a cluster it runs in tasks beside
it. On S3, SeaweedFS runs on this machine and shares its cores. ``--profile`` prints the functions
that take most of the time.
Goal: seconds per unit and memory do not grow with the number of units.
"""

import argparse
import cProfile
import os
import pstats
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from time import perf_counter, process_time

import psutil

from benchmarks.complete_set import SyntheticSet
from infra.storage.seaweedfs import SeaweedFS
from pipeline.core.identity import sha256
from pipeline.core.records import Candidate
from pipeline.publish.compact import compact_in
from pipeline.publish.seal import seal
from pipeline.storage import layout
from pipeline.storage.local import LocalStore
from pipeline.storage.open import open_store
from pipeline.storage.parallel import in_parallel
from pipeline.storage.plans import read_plan, read_prompts, stored_plans, write_plan
from pipeline.storage.s3_requests import request_counts

UNIT_SIZE, SHAPE = 8, (4, 8, 8)
BUCKET = "sealing"
_CHUNK = 500
"""Units that a process makes at a time."""


def fill(url: str, num_units: int) -> None:
    """Write the plan and all units, which several processes make."""
    made = _set(num_units)
    write_plan(open_store(url), made.plan, made.prompts)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        firsts = range(0, num_units, _CHUNK)
        for _ in pool.map(partial(write_units, url, num_units), firsts):
            pass


def write_units(url: str, num_units: int, first: int) -> None:
    """Write some units, in a folder without the durability of the store."""
    made, store = _set(num_units), open_store(url)

    def put(key: str, data: bytes) -> None:
        if isinstance(store, LocalStore):
            (store.root / key).parent.mkdir(parents=True, exist_ok=True)
            (store.root / key).write_bytes(data)
        else:
            store.put(key, data)

    copies = Copies(made)

    def write(unit: int) -> None:
        key, data, receipt = copies.of(unit)
        put(key, data)
        put(layout.receipt_key(made.plan.plan_id, unit), receipt)

    units = range(first, min(first + _CHUNK, num_units))
    for _ in in_parallel(write, units, store.parallel_requests):
        pass


class Copies:
    """Units with the noises and scores of unit 0, and with other prompts, ids and seeds.

    Making each unit anew would take longer than sealing it.
    """

    def __init__(self, made: SyntheticSet) -> None:
        self._made = made
        receipt, self._data = made.unit(0)
        self._receipt = receipt.model_dump_json()
        self._sha256 = receipt.data_sha256
        self._candidates = self._candidates_of(0)

    def of(self, unit: int) -> tuple[str, bytes, bytes]:
        """Return key and bytes of a unit object, and its receipt."""
        data, text = self._data, self._receipt
        for before, after in zip(self._candidates, self._candidates_of(unit), strict=True):
            for old, new in (
                (f"-{before.seed:08x}", f"-{after.seed:08x}"),  # the end of the sample id
                (before.prompt_id, after.prompt_id),
                (before.prompt, after.prompt),
                (f'"seed":{before.seed},', f'"seed":{after.seed},'),
                (f'"candidate":{before.index},', f'"candidate":{after.index},'),
            ):
                data, text = data.replace(old.encode(), new.encode()), text.replace(old, new)
            data = data.replace(before.seed.to_bytes(8, "little"), after.seed.to_bytes(8, "little"))
        plan_id, digest = self._made.plan.plan_id, sha256(data)
        key = layout.unit_key(plan_id, unit, digest)
        text = text.replace(layout.unit_key(plan_id, 0, self._sha256), key)
        text = text.replace(self._sha256, digest).replace('"unit":0,', f'"unit":{unit},')
        return key, data, text.encode()

    def _candidates_of(self, unit: int) -> list[Candidate]:
        plan = self._made.plan
        return list(self._made.prompts.candidates(plan, plan.unit_range(unit)))


_SETS: dict[int, SyntheticSet] = {}


def _set(num_units: int) -> SyntheticSet:
    if num_units not in _SETS:
        _SETS.clear()
        _SETS[num_units] = SyntheticSet.of(num_units, UNIT_SIZE, SHAPE)
    return _SETS[num_units]


def seal_in_this_process(url: str, *, profile: bool) -> None:
    """Seal the only plan; print seconds, peak bytes and requests, and a profile if wanted."""
    store = open_store(url)
    (plan_id,) = stored_plans(store)
    plan = read_plan(store, plan_id)
    prompts = read_prompts(store, plan)
    profiler = cProfile.Profile()
    before = psutil.Process().memory_info().rss
    begin, cpu_begin = perf_counter(), process_time()
    if profile:
        profiler.enable()
    manifest = seal(store, plan, prompts, partial(map, partial(compact_in, store)))
    profiler.disable()
    seconds, cpu = perf_counter() - begin, process_time() - cpu_begin
    assert manifest.funnel.candidates == plan.num_candidates
    status = Path("/proc/self/status").read_text()
    peak = 1024 * int(status.partition("VmHWM:")[2].split()[0])
    requests = sum(request_counts()[0].values())
    print(f"{seconds} {cpu} {peak} {before} {requests}")
    if profile:
        pstats.Stats(profiler).sort_stats("tottime").print_stats(30)


def measure(url: str, num_units: int, *, profile: bool) -> None:
    """Seal in a new process and print a row."""
    command = [sys.executable, "-m", "benchmarks.sealing", "--seal", url]
    ended = subprocess.run(
        [*command, *["--profile"] * profile], stdout=subprocess.PIPE, check=True, text=True
    )
    first, *rest = ended.stdout.splitlines()
    seconds, cpu, peak, before, requests = map(float, first.split())
    print(
        f"{num_units:9,} {seconds:8.1f} s {1e3 * seconds / num_units:6.2f} ms a unit "
        f"({1e3 * cpu / num_units:.2f} of CPU) "
        f"{peak / 1e6:7.0f} MB ({before / 1e6:.0f} before) {requests:11,.0f} requests",
        flush=True,
    )
    print("\n".join(rest), end="")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--units", type=int, nargs="*", default=[10_000, 30_000, 100_000])
    parser.add_argument("--s3-units", type=int, nargs="*", default=[3_000, 10_000])
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--seal", metavar="URL", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.seal:
        seal_in_this_process(options.seal, profile=options.profile)
        return
    print("folder")
    for num_units in options.units:
        with tempfile.TemporaryDirectory(prefix="npd-sealing-") as folder:
            fill(folder, num_units)
            measure(folder, num_units, profile=options.profile)
    print("S3")
    for num_units in options.s3_units:
        with (
            tempfile.TemporaryDirectory(prefix="npd-sealing-") as folder,
            SeaweedFS(Path(folder)) as server,
        ):
            server.create_bucket(BUCKET)
            os.environ.update(server.env())
            url = f"s3://{BUCKET}/npd"
            fill(url, num_units)
            measure(url, num_units, profile=options.profile)


if __name__ == "__main__":
    main()
