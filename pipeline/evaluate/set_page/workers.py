"""Kept share by worker and throughput by stage, from the sums that builds write."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.core.quantities import counted
from pipeline.evaluate.compare import Estimate, win_rate
from pipeline.evaluate.document import Table
from pipeline.evaluate.pages.forest import ForestPlot, amount_plot, share_plot
from pipeline.evaluate.set_page.run_record import RunRecord
from pipeline.stages.stage_clock import Stage
from pipeline.storage.worker_sums import WorkerSums

_MOST_WORKERS = 20
_MOST_STAGES = 10
_NAME_CHARACTERS = 100
_LEAST_SECONDS = 1e-6
"""Sum that no stage is below. An axis cannot end at the smallest floats, which can be forged."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What the workers of a plan did, and where their time went."""

    sentences: Sequence[str]
    workers: ForestPlot | None
    workers_table: Table | None
    stages: ForestPlot | None
    stages_table: Table | None


def work_of(sums: Sequence[WorkerSums], record: RunRecord) -> Work:
    """Return the charts and tables of workers and stages."""
    # The sums of a store are not trusted.
    present = [each for each in sums if each.kept <= each.judged <= each.candidates != 0]
    overall = record.funnel.kept_rate
    shares = [(each, win_rate(each.kept, each.judged)) for each in present if each.judged]
    # Workers that differ come first, because they are what a person looks for.
    shares.sort(key=lambda row: (not _differs(row[1], overall), -row[0].judged))
    rows = shares[:_MOST_WORKERS]
    seconds = _stage_seconds(present)
    candidates = sum(each.candidates for each in present)
    return Work(
        sentences=[*_sentences(present, record)],
        workers=share_plot([(_name(each), share) for each, share in rows], "kept share", overall)
        if rows
        else None,
        workers_table=_workers_table([each for each, _ in rows]) if rows else None,
        stages=_stages_plot(seconds, candidates) if seconds else None,
        stages_table=_stages_table(seconds, candidates) if seconds else None,
    )


def _differs(share: Estimate, overall: float) -> bool:
    return not share.low <= overall <= share.high


def _name(each: WorkerSums) -> str:
    if not each.worker:
        return "later workers"
    return f"{each.worker[:_NAME_CHARACTERS]} on {each.host[:_NAME_CHARACTERS]}"


def _workers_table(workers: Sequence[WorkerSums]) -> Table:
    rows = [
        [
            _name(each),
            each.device[:_NAME_CHARACTERS],
            f"{each.units:,}",
            f"{each.candidates:,}",
            f"{each.kept / each.judged:.1%}",
            f"{each.compute_seconds / each.candidates:.3g}",
        ]
        for each in workers
    ]
    header = ["worker", "device", "units", "candidates", "kept", "seconds per candidate"]
    return Table(header, rows)


def _stage_seconds(sums: Sequence[WorkerSums]) -> dict[str, float]:
    """Return the seconds of each stage over all workers, in the order of the flow."""
    total = dict.fromkeys([stage.value for stage in Stage], 0.0)
    for each in sums:
        for stage, spent in each.stage_seconds.items():
            total[stage] = total.get(stage, 0.0) + spent
    # A later version may have further stages, and a forged object any number of them.
    spent_in = [(stage, spent) for stage, spent in total.items() if spent > _LEAST_SECONDS]
    return dict(spent_in[:_MOST_STAGES])


def _stages_plot(seconds: dict[str, float], candidates: int) -> ForestPlot:
    rows = [
        (
            stage[:_NAME_CHARACTERS],
            spent / candidates,
            f"{spent / candidates:.3g} s, {candidates / spent:,.3g}/s",
        )
        for stage, spent in seconds.items()
    ]
    return amount_plot(rows, "seconds of a worker per candidate")


def _stages_table(seconds: dict[str, float], candidates: int) -> Table:
    computing = sum(spent for stage, spent in seconds.items() if stage != Stage.UPLOAD)
    rows = [
        [
            stage[:_NAME_CHARACTERS],
            f"{spent:,.1f}",
            f"{spent / candidates:.3g}",
            f"{candidates / spent:,.3g}",
            "" if stage == Stage.UPLOAD else f"{spent / computing:.1%}",
        ]
        for stage, spent in seconds.items()
    ]
    header = [
        "stage",
        "seconds",
        "seconds per candidate",
        "candidates per second",
        "share of computation",
    ]
    return Table(header, rows)


def _sentences(present: Sequence[WorkerSums], record: RunRecord) -> Iterator[str]:
    if not present:
        yield (
            "No sums of workers and stages are in the store, or these credentials may not list "
            "them. A build writes them every 30 seconds; builds of earlier versions wrote none."
        )
        return
    units, done = sum(each.units for each in present), len(record.units)
    yield f"Sums of workers cover {units:,} of {counted(done, 'finished unit')}."
    if units < done:
        yield (
            "The rest was committed less than 30 seconds ago or before a build was killed, or by a "
            "version that writes no sums."
        )
    if len(present) > _MOST_WORKERS:
        yield (
            f"{_MOST_WORKERS} of {len(present):,} workers are shown: those that differ from the "
            "overall share, then those with the most candidates."
        )
