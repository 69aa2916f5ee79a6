"""Run of a trial: preparation, computation in several processes, and publication.

The name of a chunk's file is a digest of everything that affects its result. An interrupted trial
therefore resumes from its finished chunks, and a trial with other settings never reuses them.
"""

import multiprocessing
import os
from collections.abc import Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import torch

from pipeline.core.determinism import be_deterministic
from pipeline.core.errors import NPDError, UserError
from pipeline.core.identity import canonical_json, readable_json, sha256, short
from pipeline.evaluate.document import to_markdown
from pipeline.evaluate.trial.arm_specs import seeds_needed
from pipeline.evaluate.trial.findings import Trial, find, to_json
from pipeline.evaluate.trial.gallery import choose_examples
from pipeline.evaluate.trial.page import summary_page, trial_page
from pipeline.evaluate.trial.results import Results, compute_chunk
from pipeline.evaluate.trial.samples import (
    Categories,
    DataSet,
    TrialSample,
    chunks_of,
    draw_samples,
)
from pipeline.evaluate.trial.settings import Setup, load_runner, training_of
from pipeline.evaluate.trial.summary import summary
from pipeline.storage.durable import atomic_write

EXAMPLES = 8
"""Number of samples on the page of each kind: largest gains, largest losses and random."""


_RESULT = "trial.json"


@dataclass(frozen=True, kw_only=True)
class TrialRun:
    """Prepared trial with its chunks and their files."""

    setup: Setup
    chunks: Sequence[Sequence[TrialSample]]
    files: Sequence[Path]
    """Path of each chunk's result, which may not exist yet."""
    folder: Path
    data: DataSet | None
    categories: Categories

    @property
    def done(self) -> int:
        """Number of finished chunks."""
        return sum(file.exists() for file in self.files)


def prepare(
    setup: Setup,
    prompts: Sequence[str],
    categories: Categories,
    data: DataSet | None,
    folder: Path,
) -> TrialRun:
    """Choose the samples and split them into chunks.

    Raises ``UserError`` like ``draw_samples`` and for a folder that holds another trial, and
    ``ModelError``.
    """
    # The number of threads is part of the chunks' names, so it must be set before them.
    be_deterministic()
    settings = setup.settings
    samples = draw_samples(
        prompts,
        settings.seeds_per_prompt,
        seeds_needed(setup.arm_specs()),
        settings.seed,
        frozenset() if data is None else data.seeds,
    )
    chunks = list(chunks_of(samples, settings.batch_size, settings.seeds_per_prompt))
    run = TrialRun(
        setup=setup,
        chunks=chunks,
        files=chunk_files(setup, chunks, folder / "chunks"),
        folder=folder,
        data=data,
        categories=categories,
    )
    # The arms, controls and figures of the other trial would be replaced.
    if (folder / _RESULT).exists() and not run.done:
        raise UserError(
            f"{folder}: holds the result of a trial with other settings; choose another --out, or "
            f"remove {_RESULT} to replace it"
        )
    return run


def compute(run: TrialRun, workers: int) -> Generator[int, None, None]:
    """Compute the missing chunks and yield the position of each finished chunk."""
    return compute_missing(run.setup, run.chunks, run.files, workers)


def publish(run: TrialRun) -> Trial:
    """Combine the chunks and write trial.json, trial.html, summary.md and summary.html."""
    setup = run.setup
    rewards = [reward.name for reward in setup.config.rewards]
    results = Results.read(setup.arm_specs(), rewards, run.chunks, run.files)
    trial = find(results, setup.selecting, setup.judging, run.categories)
    examples = choose_examples(results, trial.subject, trial.judging, EXAMPLES)
    training = training_of(setup.networks)
    sections = summary(trial, run.data, training)
    page = trial_page(trial, results, examples, run.data, training)
    described = {**setup.described(), "data": _described(run.data), "examples": asdict(examples)}
    for name, content in {
        _RESULT: readable_json(to_json(trial, results, described)),
        "trial.html": page.encode(),
        "summary.md": to_markdown(sections).encode(),
        "summary.html": summary_page(sections).encode(),
    }.items():
        atomic_write(run.folder / name, [content])
    return trial


def _described(data: DataSet | None) -> dict[str, object] | None:
    """Return the URL and plan IDs of the data set that the samples were checked against."""
    if data is None:
        return None
    return {"url": data.url, "plans": [manifest.plan_id for manifest in data.manifests]}


def chunk_files(setup: Setup, chunks: Sequence[Sequence[TrialSample]], folder: Path) -> list[Path]:
    """Return the path of each chunk's result, which may not exist yet."""
    described = setup.described()
    return [
        folder
        / f"{short(sha256(canonical_json([described, [asdict(sample) for sample in chunk]])))}.npz"
        for chunk in chunks
    ]


def compute_missing(
    setup: Setup, chunks: Sequence[Sequence[TrialSample]], files: Sequence[Path], workers: int
) -> Generator[int, None, None]:
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
    # Each process takes one entry when it starts.
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
                "a worker process died, possibly out of memory; use fewer --workers or a smaller "
                "--batch-size. Finished chunks are kept"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def compute_to_file(setup: Setup, samples: Sequence[TrialSample], file: Path) -> None:
    """Compute one chunk and write its file atomically."""
    result = compute_chunk(
        load_runner(setup), setup.arm_specs(), samples, setup.settings.seeds_per_prompt
    )
    # A chunk is done if its file exists, so a partly written file must never have that name.
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
