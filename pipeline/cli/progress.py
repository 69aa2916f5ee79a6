"""Progress of a build: a bar in a terminal, and a line a minute elsewhere."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from time import monotonic

from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from pipeline.cli.console import console
from pipeline.cli.logs import report_progress
from pipeline.core.errors import StoreError
from pipeline.core.quantities import counted, human_seconds
from pipeline.monitor.progress import BuildProgress
from pipeline.monitor.unit_summary import UnitSummary
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.receipts import Commit
from pipeline.storage.unit_counts import UnitCounts, read_all_counts

logger = logging.getLogger(__name__)

LINE_S = 60.0
"""Seconds between two lines of a log."""

_RATE_S = 300.0
"""Seconds over which the rate is measured."""

_RATE_UNITS = 8
"""Smallest number of units over which the rate is measured. A unit may take minutes."""

_EARLIER_UNITS = 2000
"""Most receipts of earlier runs that are read. A million would occupy the driver for half an hour,
and their share of kept candidates is within a few hundredths."""


@dataclass
class Tally:
    """Counts over the units computed by this run, without those of earlier runs."""

    candidates: int = 0
    judged: int = 0
    kept: int = 0
    compute_seconds: float = 0.0
    different: int = 0
    """Number of units whose second attempt gave other bytes than the first."""
    committed: int = 0
    """Number of units that this run has committed."""
    committed_elsewhere: int = 0
    """Number of units that another attempt committed first, such as a second run of the build."""

    def add(self, summary: UnitSummary) -> None:
        """Add one unit to the counts."""
        self.candidates += summary.candidates
        self.judged += summary.judged
        self.kept += summary.kept
        self.compute_seconds += summary.compute_seconds
        self.different += summary.commit is Commit.DIFFERENT
        self.committed += summary.commit is Commit.MINE
        self.committed_elsewhere += summary.commit is not Commit.MINE


class Rate:
    """Candidates per second of the last minutes.

    The loading of models does not count: the time starts when the first worker is ready.
    """

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int]] = deque()
        """Times at which units were done, with their candidates; the first one is the start."""

    def start(self, now: float) -> None:
        """Start the time, unless it runs."""
        if not self._marks:
            self._marks.append((now, 0))

    def add(self, now: float, candidates: int) -> None:
        """Add a unit that is done."""
        self.start(now)
        self._marks.append((now, candidates))
        while len(self._marks) > _RATE_UNITS + 1 and now - self._marks[0][0] > _RATE_S:
            self._marks.popleft()

    def per_second(self, now: float) -> float | None:
        """Return the rate, or None before a unit is done."""
        marks = [*self._marks]
        if len(marks) < 2 or now <= marks[0][0]:
            return None
        return sum(candidates for _, candidates in marks[1:]) / (now - marks[0][0])


class EarlierUnits:
    """Counts of the units that earlier runs have done, read from their receipts in a thread.

    Of many units, evenly spaced ones are read and stand for the others.
    """

    def __init__(self, store: ObjectStore, plan_id: str, done: bytes) -> None:
        self.judged = 0
        self.kept = 0
        self._step = -(-sum(done) // _EARLIER_UNITS) or 1
        done_units = (unit for unit, is_done in enumerate(done) if is_done)
        units = list(islice(done_units, 0, None, self._step))
        # A daemon, because the end of a build does not wait for numbers that are only shown.
        threading.Thread(
            target=self._read, args=(store, plan_id, units), name="npd-earlier-units", daemon=True
        ).start()

    def _read(self, store: ObjectStore, plan_id: str, units: list[int]) -> None:
        try:
            for _, counts in read_all_counts(store, plan_id, units):
                if isinstance(counts, UnitCounts):
                    self.judged += counts.judged * self._step
                    self.kept += counts.kept * self._step
        except StoreError as error:
            logger.info("the kept share leaves out earlier units: %s", error)


class BuildView:
    """Figures of a running build of ``candidates`` in units of ``unit_size``, as text."""

    def __init__(
        self, candidates: int, unit_size: int, progress: BuildProgress, earlier: EarlierUnits
    ) -> None:
        self.tally = Tally()
        self._candidates, self._unit_size = candidates, unit_size
        self._progress, self._earlier = progress, earlier
        self._rate = Rate()
        self._begin = monotonic()

    @property
    def done(self) -> int:
        """Number of units with a receipt."""
        return self._progress.done

    @property
    def total(self) -> int:
        """Number of units of the plan."""
        return self._progress.total

    def add(self, summary: UnitSummary) -> None:
        """Add a unit that this run has done."""
        self.tally.add(summary)
        self._rate.add(monotonic(), summary.candidates)

    def figures(self) -> Iterator[str]:
        """Yield the share of kept candidates, the rate, the times and the workers."""
        now = monotonic()
        if self._progress.workers.get("ready"):
            self._rate.start(now)
        if judged := self.tally.judged + self._earlier.judged:
            yield f"kept {(self.tally.kept + self._earlier.kept) / judged:.0%}"
        rate = self._rate.per_second(now)
        if rate:
            yield f"{rate:.1f} candidates/s"
        yield f"elapsed {human_seconds(now - self._begin)}"
        if rate:
            yield f"ETA {human_seconds(self._remaining() / rate)}"
        yield self.workers()

    def workers(self) -> str:
        """Return how many workers compute, and what the others do."""
        counts = self._progress.workers
        total = sum(counts.values())
        others = [
            f"{counts[state]} {words}"
            for state, words in (
                ("loading", "loading models"),
                ("waiting", "not started yet"),
                ("leaving", "leaving"),
            )
            if counts.get(state)
        ]
        ready = counts.get("ready", 0)
        if not total:
            return "starting workers"
        words = counted(total, "worker")
        return ", ".join([f"{ready} of {words} ready", *others]) if others else words

    def _remaining(self) -> int:
        """Return the number of candidates that are not done."""
        # Only the last unit may be smaller.
        return max(0, self._candidates - self._progress.done * self._unit_size)

    def line(self) -> str:
        """Return all figures as one line."""
        share = f"{self.done / self.total:.0%}"
        return ", ".join([f"units {self.done:,} of {self.total:,} ({share})", *self.figures()])


def show_progress(summaries: Iterable[UnitSummary], view: BuildView, *, lines: bool) -> Tally:
    """Show the progress until ``summaries`` ends, and return the counts of this run.

    ``lines`` prints a line a minute, for logs. Otherwise a bar is shown.
    """
    with _lines(view) if lines else _bar(view) as update:
        for summary in summaries:
            view.add(summary)
            update()
    if lines:
        report_progress(view.line())
    return view.tally


@contextmanager
def _lines(view: BuildView) -> Iterator[Callable[[], None]]:
    """Print a line when a worker has started or is ready, and every minute."""
    ended = threading.Event()

    def run() -> None:
        workers, printed = "", monotonic()
        while not ended.wait(1.0):
            if view.workers() != workers or monotonic() - printed > LINE_S:
                workers, printed = view.workers(), monotonic()
                report_progress(view.line())

    thread = threading.Thread(target=run, name="npd-progress", daemon=True)
    thread.start()
    try:
        yield lambda: None
    finally:
        ended.set()
        thread.join()


@contextmanager
def _bar(view: BuildView) -> Iterator[Callable[[], None]]:
    columns = (TextColumn("units"), BarColumn(bar_width=12), MofNCompleteColumn(), _Figures(view))
    with Progress(*columns, console=console, refresh_per_second=2) as bars:
        bar = bars.add_task("units", completed=view.done, total=view.total)
        yield lambda: bars.update(bar, completed=view.done)


class _Figures(ProgressColumn):
    """Figures that change between units, too: times and workers."""

    def __init__(self, view: BuildView) -> None:
        super().__init__()
        self._view = view

    def render(self, task: Task) -> Text:
        """Return the figures of this moment."""
        return Text(", ".join(self._view.figures()))
