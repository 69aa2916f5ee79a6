"""Peak memory of commands and of the reader over data sets of several sizes."""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.complete_set import REWARD, write_complete_set

_READING = (
    "import sys\n"
    "from pipeline.reader import NoisePairDataset\n"
    "for _ in NoisePairDataset(sys.argv[1], batch_size=64, seed=0): pass\n"
)
_TABLE = (
    "import sys\n"
    "from pipeline.reader import NoisePairTable\n"
    "table = NoisePairTable(sys.argv[1])\n"
    "for index in range(len(table)): table[index]\n"
)
_CLI = ("-m", "pipeline.cli")
COMMANDS: dict[str, tuple[str, ...]] = {
    "read all pairs": ("-c", _READING, "URL"),
    "read all pairs by index": ("-c", _TABLE, "URL"),
    "npd status": (*_CLI, "status", "URL"),
    "npd verify": (*_CLI, "verify", "URL"),
    "npd gc": (*_CLI, "gc", "URL"),
    "npd repair": (*_CLI, "repair", "URL"),
    **{
        f"npd export --format {name}": (*_CLI, "export", "URL", "OUT", "--format", name)
        for name in ("golden-noise-npz", "webdataset", "parquet", "hf", "mds")
    },
    # Last, because they change the set.
    "npd select": (*_CLI, "select", "URL", "--margin", f"{REWARD}=0.2"),
    "npd prune --delete": (*_CLI, "prune", "URL", "--delete"),
}
"""Maps each name to the arguments of Python; URL is the data set and OUT a new folder."""

_INTERVAL_S = 0.02


@dataclass(frozen=True, kw_only=True)
class Peak:
    """Highest memory of one process, in bytes."""

    private: int
    """Memory without mapped files, which the system may drop."""
    resident: int
    """Memory with the mapped files that were in memory at the same time."""


def command_memory(gigabytes: Sequence[float]) -> None:
    """Write a data set of each size, run every command over it and print the peaks."""
    peaks = [_peaks(size) for size in gigabytes]
    print(f"{'peak memory in MB, private (resident)':38}", *(f"{g:>16g} GB" for g in gigabytes))
    for name in COMMANDS:
        cells = (_cell(each[name]) for each in peaks)
        print(f"{name:38}", *(f"{cell:>19}" for cell in cells), flush=True)


def _cell(peak: Peak | None) -> str:
    return "-" if peak is None else f"{peak.private / 1e6:,.0f} ({peak.resident / 1e6:,.0f})"


def _peaks(gigabytes: float) -> dict[str, Peak | None]:
    with tempfile.TemporaryDirectory(prefix="npd-memory-") as name:
        folder = Path(name)
        url, out = str(folder / "set"), folder / "out"
        started = time.monotonic()
        manifest = write_complete_set(url, int(gigabytes * 1e9))
        print(
            f"{gigabytes:g} GB: {manifest.funnel.candidates:,} candidates, "
            f"{manifest.funnel.kept:,} pairs, written in {time.monotonic() - started:.0f} s",
            flush=True,
        )
        peaks = {}
        for command, arguments in COMMANDS.items():
            places = {"URL": url, "OUT": str(out)}
            peaks[command] = peak_of([places.get(each, each) for each in arguments])
            print(f"  {command}: {_cell(peaks[command])}", file=sys.stderr, flush=True)
            shutil.rmtree(out, ignore_errors=True)
        return peaks


def peak_of(arguments: Sequence[str]) -> Peak | None:
    """Run Python with arguments and return its peak; None if it fails, with its output printed."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    private = resident = 0
    with tempfile.TemporaryFile() as output:
        process = psutil.Popen(
            [sys.executable, *arguments], stdout=output, stderr=output, env=environment
        )
        while process.poll() is None:
            with suppress(psutil.NoSuchProcess):
                memory = process.memory_info()
                private = max(private, memory.rss - memory.shared)
                resident = max(resident, memory.rss)
            with suppress(psutil.TimeoutExpired):
                process.wait(_INTERVAL_S)
        if process.returncode:
            output.seek(0)
            print(" ".join(arguments[:3]), output.read()[-300:].decode(), file=sys.stderr)
            return None
    return Peak(private=private, resident=resident)
