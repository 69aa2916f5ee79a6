"""Preparation, computation and publication of a trial."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.determinism import be_deterministic
from pipeline.evaluate.trial.arm_specs import seeds_needed
from pipeline.evaluate.trial.categories import Categories
from pipeline.evaluate.trial.document import to_html, to_markdown
from pipeline.evaluate.trial.examples import choose_examples
from pipeline.evaluate.trial.findings import Trial, find, to_json
from pipeline.evaluate.trial.held_out import DataSet
from pipeline.evaluate.trial.page.report import trial_page
from pipeline.evaluate.trial.results import Results
from pipeline.evaluate.trial.samples import Sample, chunks_of, draw_samples
from pipeline.evaluate.trial.settings import Setup
from pipeline.evaluate.trial.summary import sentences, summary
from pipeline.evaluate.trial.workers import chunk_files, compute_missing
from pipeline.identity import readable_json
from pipeline.storage.durable import atomic_write

EXAMPLES = 8
"""Number of samples on the page of each kind: largest gains, largest losses and random."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """Prepared trial with its chunks and their files."""

    setup: Setup
    chunks: Sequence[Sequence[Sample]]
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
) -> Run:
    """Choose the samples and split them into chunks.

    Raises ``UserError`` like ``draw_samples``, and ``ModelError``.
    """
    # The number of threads is part of the chunks' names, so it must be set before them.
    be_deterministic()
    settings = setup.settings
    samples = draw_samples(
        prompts,
        settings.seeds_per_prompt,
        seeds_needed(setup.entries()),
        settings.seed,
        frozenset() if data is None else data.seeds,
    )
    chunks = list(chunks_of(samples, settings.batch_size, settings.seeds_per_prompt))
    return Run(
        setup=setup,
        chunks=chunks,
        files=chunk_files(setup, chunks, folder / "chunks"),
        folder=folder,
        data=data,
        categories=categories,
    )


def compute(run: Run, workers: int) -> Iterator[int]:
    """Compute the missing chunks and yield the position of each finished chunk."""
    return compute_missing(run.setup, run.chunks, run.files, workers)


def publish(run: Run) -> Trial:
    """Combine the chunks and write trial.json, trial.html, summary.md and summary.html."""
    setup = run.setup
    rewards = [reward.name for reward in setup.config.rewards]
    results = Results.read(setup.entries(), rewards, run.chunks, run.files)
    trial = find(results, setup.selecting, setup.judging, run.categories)
    examples = choose_examples(results, trial.subject, trial.judging, EXAMPLES)
    blocks = summary(trial, run.data)
    described = {**setup.described(), "data": _described(run.data), "examples": asdict(examples)}
    for name, content in {
        "trial.json": readable_json(to_json(trial, results, described)),
        "trial.html": trial_page(trial, results, examples, sentences(trial, run.data)).encode(),
        "summary.md": to_markdown(blocks).encode(),
        "summary.html": to_html(blocks).encode(),
    }.items():
        atomic_write(run.folder / name, [content])
    return trial


def _described(data: DataSet | None) -> dict[str, object] | None:
    """Return the URL and plan IDs of the data set that the samples were checked against."""
    if data is None:
        return None
    return {"url": data.url, "plans": [manifest.plan_id for manifest in data.manifests]}
