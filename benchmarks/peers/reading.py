"""One reading in a separate process: time to the first batch, and of each epoch."""

import json
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from benchmarks.peers import PEERS
from benchmarks.peers.peer import Batch, Reading

EPOCHS = 3


def measure(name: str, reading: Reading, count: int) -> dict[str, Any]:
    """Read some epochs. Every batch is copied once, as on its way to a GPU.

    Without the copy, a reader that maps files would not have read them. Raises ``AssertionError``
    if an epoch does not have every pair exactly once, or a noise is not a float16 tensor.
    """
    begin = perf_counter()
    epochs = PEERS[name].epochs(reading)
    first_batch = 0.0
    seconds = []
    for number in range(EPOCHS):
        seeds: list[int] = []
        if number:
            begin = perf_counter()
        for batch in next(epochs):
            _use(batch)
            first_batch = first_batch or perf_counter() - begin
            seeds += map(int, batch["seed"])
        seconds.append(perf_counter() - begin)
        assert len(seeds) == count == len(set(seeds)), f"{len(seeds)} of {count}"
        if reading.shuffle:
            assert seeds != sorted(seeds)
    return {"first_batch": first_batch, "epochs": seconds}


_BUFFERS: dict[str, torch.Tensor] = {}


def _use(batch: Batch) -> None:
    for name in ("source_noise", "golden_noise"):
        noise = batch[name]
        assert noise.dtype == torch.float16 and noise.shape[1:] == (4, 128, 128)
        if name not in _BUFFERS:
            _BUFFERS[name] = torch.empty_like(noise)
        _BUFFERS[name][: len(noise)].copy_(noise)


def main() -> None:
    """Report that all is imported, wait for a line, measure, print JSON."""
    name, url, work, workers, shuffle, count = sys.argv[1:]
    torch.set_num_threads(1)
    reading = Reading(url=url, work=Path(work), workers=int(workers), shuffle=shuffle == "True")
    __import__(PEERS[name].module)
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(measure(name, reading, int(count))), flush=True)


if __name__ == "__main__":
    main()
