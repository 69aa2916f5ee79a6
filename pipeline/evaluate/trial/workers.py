"""Worker processes of a trial: chunks are computed in parallel and saved as they finish.

The name of a chunk's file is a digest of everything that affects its result. An interrupted trial
therefore resumes from its finished chunks, and a trial with other settings never reuses them.
"""

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import torch

from pipeline.determinism import be_deterministic
from pipeline.errors import NPDError
from pipeline.evaluate.trial.chunk import compute_chunk
from pipeline.evaluate.trial.samples import Sample
from pipeline.evaluate.trial.settings import Setup, load_bench
from pipeline.identity import canonical_json, sha256, short
from pipeline.storage.durable import atomic_write


def chunk_files(setup: Setup, chunks: Sequence[Sequence[Sample]], folder: Path) -> list[Path]:
    """Return the path of each chunk's result, which may not exist yet."""
    described = setup.described()
    return [
        folder
        / f"{short(sha256(canonical_json([described, [asdict(sample) for sample in chunk]])))}.npz"
        for chunk in chunks
    ]


def compute_missing(
    setup: Setup, chunks: Sequence[Sequence[Sample]], files: Sequence[Path], workers: int
) -> Iterator[int]:
    """Compute the chunks whose files are missing and yield the position of each finished chunk.

    Each process uses one GPU, if there are any. Raises ``ModelError`` if a model cannot be loaded,
    and ``NPDError`` if a process dies.
    """
    todo = [position for position, file in enumerate(files) if not file.exists()]
    if workers == 1:
        for position in todo:
            compute_to_file(setup, chunks[position], files[position])
            yield position
        return
    # CUDA cannot be used in a fork of a process that has initialized it.
    context = multiprocessing.get_context("spawn")
    devices: SimpleQueue[str] = context.SimpleQueue()
    for device in _devices(workers):
        devices.put(device)
    with ProcessPoolExecutor(workers, context, _start, (devices,)) as pool:
        futures = {
            pool.submit(compute_to_file, setup, chunks[position], files[position]): position
            for position in todo
        }
        try:
            for future in as_completed(futures):
                future.result()
                yield futures[future]
        except BrokenProcessPool:
            raise NPDError(
                "a process of the trial died, perhaps for want of memory: try fewer --workers or a "
                "smaller --batch-size; chunks that are done are kept"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def compute_to_file(setup: Setup, samples: Sequence[Sample], file: Path) -> None:
    """Compute one chunk and write its file atomically."""
    result = compute_chunk(
        load_bench(setup), setup.entries(), samples, setup.settings.seeds_per_prompt
    )
    atomic_write(file, [result.to_bytes()])


def _devices(workers: int) -> list[str]:
    """Return ``CUDA_VISIBLE_DEVICES`` of each process: one of the visible GPUs, or none."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    visible = named.split(",") if named else [str(n) for n in range(torch.cuda.device_count())]
    return [visible[index % len(visible)] if visible else "" for index in range(workers)]


def _start(devices: "SimpleQueue[str]") -> None:
    """Initialize a worker process. This must run before CUDA is initialized in it."""
    os.environ["CUDA_VISIBLE_DEVICES"] = devices.get()
    be_deterministic()
