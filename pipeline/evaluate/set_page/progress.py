"""Charts and tables of a build's progress: kept share and speed over time, and by machine."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pipeline.core.quantities import counted
from pipeline.evaluate.compare import win_rate
from pipeline.evaluate.document import Table
from pipeline.evaluate.pages.charts import Chart, levels_over, shares_over
from pipeline.evaluate.pages.forest import ForestPlot, share_plot
from pipeline.evaluate.set_page.run_record import RunRecord, UnitRun

_MOST_BINS = 40
_UNITS_PER_BIN = 4
"""Mean number of units in an interval of time. With fewer, the curve shows only noise."""
_MOST_MACHINES = 20
_MOST_SECONDS = 100 * 365 * 86_400.0
"""Longest build that is drawn. Times of forged receipts can be thousands of years apart."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Sums over the units of one machine and device."""

    host: str
    device: str
    units: int
    candidates: int
    judged: int
    kept: int
    seconds: float


@dataclass(kw_only=True)
class _Bin:
    """Units that ended in one interval of time."""

    units: list[UnitRun] = field(default_factory=list)

    @property
    def candidates(self) -> int:
        return sum(unit.candidates for unit in self.units)

    @property
    def judged(self) -> int:
        return sum(unit.judged for unit in self.units)

    @property
    def kept(self) -> int:
        return sum(unit.kept for unit in self.units)


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """Charts of a build over time."""

    kept: Chart
    speed: Chart


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Everything that a page shows about the course of a build."""

    timeline: Timeline | None
    """None if fewer than two units have a readable time."""
    machines: ForestPlot | None
    table: Table | None
    sentences: Sequence[str]


def progress_of(record: RunRecord) -> Progress:
    """Return the charts and the table of a build's progress."""
    machines = _machines(record.units)
    shown = [each for each in machines if each.candidates][:_MOST_MACHINES]
    overall = record.funnel.kept_rate
    return Progress(
        timeline=_timeline(record.units, overall),
        machines=_machines_plot(shown, overall),
        table=_machines_table(shown),
        sentences=[*_sentences(record, len(machines))],
    )


def last_end(units: Sequence[UnitRun]) -> str | None:
    """Return the end of the last unit in UTC, to the minute; None if no time is known."""
    ends = [unit.ended for unit in units if unit.ended is not None]
    return moment(max(ends)) if ends else None


def moment(seconds: float) -> str | None:
    """Format seconds since 1970 as a time in UTC, or return None if no calendar has it."""
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"
    except (OverflowError, ValueError, OSError):
        return None


def duration(seconds: float) -> str:
    """Format a duration with one unit."""
    for unit, size in (("days", 86_400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:,.1f} seconds"


def _timeline(units: Sequence[UnitRun], overall: float) -> Timeline | None:
    timed = [unit for unit in units if unit.started is not None]
    starts = [unit.started for unit in timed if unit.started is not None]
    ends = [unit.ended for unit in timed if unit.ended is not None]
    if len(timed) < 2 or not 0 < max(ends) - min(starts) < _MOST_SECONDS:
        return None
    begin, length = min(starts), max(ends) - min(starts)
    count = max(2, min(_MOST_BINS, len(timed) // _UNITS_PER_BIN))
    bins = [_Bin() for _ in range(count)]
    for unit, end in zip(timed, ends, strict=True):
        bins[min(int((end - begin) / length * count), count - 1)].units.append(unit)
    name, size = _time_unit(length)
    x_title = f"time since the first unit started ({name})"
    width = length / count
    shares = [
        (
            (index + 0.5) * width / size,
            win_rate(each.kept, each.judged),
            f"{each.kept:,} of {counted(each.judged, 'candidate')} kept in "
            f"{counted(len(each.units), 'unit')}",
        )
        for index, each in enumerate(bins)
        if each.judged
    ]
    speeds = [
        ((index + 0.5) * width / size, each.candidates / width) for index, each in enumerate(bins)
    ]
    return Timeline(
        kept=shares_over(shares, x_title, "kept share", overall),
        speed=levels_over(speeds, x_title, "candidates per second"),
    )


def _time_unit(seconds: float) -> tuple[str, float]:
    sizes = (("days", 86_400.0), ("hours", 3600.0), ("minutes", 60.0))
    return next(((name, size) for name, size in sizes if seconds >= 3 * size), ("seconds", 1.0))


def _machines(units: Sequence[UnitRun]) -> list[Machine]:
    """Return the machines, those with the most candidates first."""
    groups: dict[tuple[str, str], list[UnitRun]] = {}
    for unit in units:
        groups.setdefault((unit.host, unit.device), []).append(unit)
    found = [
        Machine(
            host=host,
            device=device,
            units=len(group),
            candidates=sum(unit.candidates for unit in group),
            judged=sum(unit.judged for unit in group),
            kept=sum(unit.kept for unit in group),
            seconds=sum(unit.seconds for unit in group),
        )
        for (host, device), group in groups.items()
    ]
    return sorted(found, key=lambda machine: (-machine.candidates, machine.host, machine.device))


def _machines_plot(machines: Sequence[Machine], overall: float) -> ForestPlot | None:
    if not machines:
        return None
    rows = [(each.host, win_rate(each.kept, each.judged)) for each in machines if each.judged]
    return share_plot(rows, "kept share", overall)


def _machines_table(machines: Sequence[Machine]) -> Table | None:
    if not machines:
        return None
    rows = [
        [
            each.host,
            each.device,
            f"{each.units:,}",
            f"{each.candidates:,}",
            f"{each.kept / each.judged:.1%}" if each.judged else "-",
            f"{each.seconds / each.candidates:.3g}",
        ]
        for each in machines
    ]
    header = ["machine", "device", "units", "candidates", "kept", "seconds per candidate"]
    return Table(header, rows)


def _sentences(record: RunRecord, num_machines: int) -> Iterator[str]:
    if not record.units:
        yield "No receipt is in the store, so times, machines and costs are unknown."
        return
    if num_machines > _MOST_MACHINES:
        yield f"The {_MOST_MACHINES} machines with the most candidates of {num_machines} are shown."
    missing = record.num_units - len(record.units)
    unreadable = sum(unit.started is None for unit in record.units)
    if missing:
        yield f"Without a receipt in the store: {missing:,} of {counted(record.num_units, 'unit')}."
    if unreadable:
        yield f"Without a readable time: {counted(unreadable, 'receipt')}."
    yield (
        "Times and machines are those of receipts: from the first prompt of a unit to its last "
        "score, by the clock of its machine. A unit counts when it ends."
    )
