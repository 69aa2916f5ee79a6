"""Measure samples per second from disk and from S3, with our reader and others.

    python -m benchmarks.readers [--pairs 2000] [--repeats 3] [--only litdata …] [--disk-only]

Each library reads the same SDXL-sized pairs in its native format (two float16 noises (4, 128, 128),
a prompt, a seed: 262 kB), in files of 64 MB, with batches of 64, with 0 and 2 DataLoader workers,
in order and shuffled. Each reading runs in a new process. Its first epoch starts with an empty
cache of the library (the page cache of the machine is warm). Later epochs reuse workers and caches.
All libraries are imported before the clock starts. Our reader checks every byte against a digest
before it returns it, as by default. The others check none by default. The readings take turns, and
the table shows medians. Memory is the peak of what a reading adds to the process that has imported
the library, including workers, without mapped files.
Goal: the highest samples per second and the shortest time to the first batch.

litData and MosaicML streaming need a separate environment beside this package, with `pip install
--no-deps` and the packages that they import: the metadata of the latter requires an older
transformers, an older numpy and torchvision.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import psutil

from benchmarks.peers import PEERS
from benchmarks.sdxl_pairs import write_pairs
from infra.storage.seaweedfs import SeaweedFS
from pipeline.storage.open import open_store

# Set before datasets is imported, here or in a reading.
os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"

BUCKET = "readers"
READING_SECONDS = 300.0
"""Seconds after which a reading counts as hung."""
SAMPLE_SECONDS = 0.1
"""Seconds between two measurements of memory."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Settings of a reading, which are a row of the table."""

    place: str
    workers: int
    shuffle: bool
    peer: str


@dataclass(frozen=True, kw_only=True)
class Figures:
    """The measurements of one reading."""

    first_batch: float
    """Seconds to the first batch."""
    first_epoch: float
    """Seconds of the first epoch."""
    later_epochs: float
    """Median of the epochs after the first, in seconds."""
    peak_bytes: int


def installed(names: list[str]) -> list[str]:
    """Return the installed libraries. Prints those that are missing."""
    here = [name for name in names if find_spec(PEERS[name].module)]
    for name in names:
        if name not in here:
            print(f"{name} is not installed and is skipped: `pip install {name}`")
    return here


def read(setting: Setting, url: str, count: int) -> Figures | None:
    """Run one reading in a new process. Return None, and print the reason, if it fails."""
    with tempfile.TemporaryDirectory(prefix="npd-cache-") as work:
        command = [sys.executable, "-m", "benchmarks.peers.reading", setting.peer, url, work]
        command += [str(setting.workers), str(setting.shuffle), str(count)]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdin is not None and process.stdout is not None
            while (line := process.stdout.readline()) and line != "ready\n":
                pass  # libraries print lines when they are imported
            if not line:
                print(f"{setting} exited before it was ready", file=sys.stderr)
                return None
            # The process has imported the library and waits, so that neither the imports' time nor
            # their memory counts.
            before = _tree_bytes(process.pid)
            process.stdin.write("go\n")
            process.stdin.flush()
            peak = before
            deadline = perf_counter() + READING_SECONDS
            while perf_counter() < deadline:
                try:
                    process.wait(SAMPLE_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    peak = max(peak, _tree_bytes(process.pid))
            else:
                _kill_tree(process.pid)
            output = process.stdout.read()
        if process.returncode:
            print(f"{setting} failed with {process.returncode}: {output}", file=sys.stderr)
            return None
    figures: dict[str, Any] = json.loads(output.splitlines()[-1])
    first, *later = figures["epochs"]
    return Figures(
        first_batch=figures["first_batch"],
        first_epoch=first,
        later_epochs=median(later),
        peak_bytes=peak - before,
    )


def _kill_tree(pid: int) -> None:
    parent = psutil.Process(pid)
    for process in [*parent.children(recursive=True), parent]:
        process.kill()


def _tree_bytes(pid: int) -> int:
    """Return anonymous and shared memory of a process tree; shared memory counts once."""
    total = 0
    try:
        parent = psutil.Process(pid)
        for process in [parent, *parent.children(recursive=True)]:
            for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines():
                if line.startswith(("Pss_Anon:", "Pss_Shmem:")):
                    total += int(line.split()[1]) * 1024
    except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
        pass  # a process has ended meanwhile
    return total


def upload(folder: Path, url: str) -> None:
    """Upload every file of a folder to an S3 URL."""
    store = open_store(url)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        key = path.relative_to(folder).as_posix()
        if not path.name.startswith(".npd-"):
            assert store.put_file_if_absent(key, path), f"{url}/{key} exists with other bytes"


def show(figures: dict[Setting, list[Figures]], count: int) -> None:
    """Print the table in Markdown."""
    print("\n| from | workers | order | reader | samples/s, first epoch | later | ", end="")
    print("first batch | memory |\n|---|---|---|---|---|---|---|---|")
    for setting, runs in figures.items():
        first = count / median(run.first_epoch for run in runs)
        later = count / median(run.later_epochs for run in runs)
        batch = median(run.first_batch for run in runs)
        peak = median(run.peak_bytes for run in runs)
        order = "shuffled" if setting.shuffle else "in order"
        print(
            f"| {setting.place} | {setting.workers} | {order} | {setting.peer} | {first:,.0f} | "
            f"{later:,.0f} | {batch * 1000:,.0f} ms | {peak / 1e6:,.0f} MB |"
        )


def main() -> None:
    """Prepare every format, measure in turns, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--disk-only", action="store_true")
    options = parser.parse_args()
    peers = installed(options.only)
    with tempfile.TemporaryDirectory(prefix="npd-readers-") as name:
        work = Path(name)
        write_pairs(str(work / "sealed"), options.pairs, shard_bytes=64 * 1024 * 1024)
        for peer in peers:
            PEERS[peer].prepare(work / "sealed", work / peer)
        with SeaweedFS(work / "seaweedfs") as server:
            server.create_bucket(BUCKET)
            os.environ.update(server.env())
            os.environ["S3_ENDPOINT_URL"] = server.endpoint_url  # MosaicML's name for it
            urls = {("disk", peer): str(work / peer) for peer in peers}
            if not options.disk_only:
                urls |= {("S3", peer): f"s3://{BUCKET}/{peer}" for peer in peers}
                for peer in peers:
                    upload(work / peer, urls["S3", peer])
            settings = [
                Setting(place=place, workers=workers, shuffle=shuffle, peer=peer)
                for place in dict.fromkeys(place for place, _ in urls)
                for workers in (0, 2)
                for shuffle in (False, True)
                for peer in peers
            ]
            figures: dict[Setting, list[Figures]] = defaultdict(list)
            # Take turns, so that a change of the machine's load affects all settings alike.
            for _ in range(options.repeats):
                for setting in settings:
                    if figure := read(setting, urls[setting.place, setting.peer], options.pairs):
                        figures[setting].append(figure)
                    print(f"{setting}: {figure}", file=sys.stderr, flush=True)
            show(
                {setting: figures[setting] for setting in settings if setting in figures},
                options.pairs,
            )


if __name__ == "__main__":
    main()
