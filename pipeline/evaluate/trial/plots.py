"""Layout of the plots of a page: forest plots, histograms and line plots.

Positions and sizes are in pixels. The templates draw them as inline SVG.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

import numpy as np

from pipeline.evaluate.compare import Estimate, Values
from pipeline.evaluate.document import signed

_GOOD, _BAD, _NONE = "#18794e", "#c62a2f", "#8b9298"
LINES = ("#8b9298", "#0b68cb", "#18794e", "#ad5700", "#793aaf")
"""Distinct line colours. The first is for the reference."""

_ROW, _NAMES, _PLOT, _TEXT = 26, 300, 520, 210


@dataclass(frozen=True)
class Scale:
    """Linear map from values to positions on an axis."""

    low: float
    high: float
    start: float
    length: float

    def __call__(self, value: float) -> float:
        """Return the position of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * self.length

    def ticks(self) -> list[float]:
        """Return round values within the axis, at most nine."""
        step = _round_step((self.high - self.low) / 8)
        return [step * index for index in range(ceil(self.low / step), floor(self.high / step) + 1)]


@dataclass(frozen=True)
class Tick:
    """Labelled position on an axis."""

    position: float
    label: str

    @property
    def is_zero(self) -> bool:
        """True at the value zero."""
        return self.label == "0"


@dataclass(frozen=True, kw_only=True)
class ForestRow:
    """Row of a forest plot: a name, a difference and its interval."""

    name: str
    label: str
    y: float
    low: float
    value: float
    high: float
    colour: str


@dataclass(frozen=True, kw_only=True)
class ForestPlot:
    """Forest plot: one row for each difference."""

    width: float
    height: float
    names_end: float
    labels_start: float
    ticks: Sequence[Tick]
    rows: Sequence[ForestRow]


@dataclass(frozen=True, kw_only=True)
class Bar:
    """Bar of a histogram."""

    x: float
    width: float
    height: float
    colour: str
    title: str


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Histogram of differences."""

    width: float
    height: float
    label: str
    ticks: Sequence[Tick]
    bars: Sequence[Bar]
    mean: Tick


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Curve of a line plot. ``points`` is the attribute of an SVG polyline."""

    name: str
    colour: str
    points: str


@dataclass(frozen=True, kw_only=True)
class LinePlot:
    """Line plot with a legend."""

    width: float
    height: float
    left: float
    right: float
    label: str
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    curves: Sequence[Curve]


def forest_plot(rows: Sequence[tuple[str, Estimate]]) -> ForestPlot:
    """Return a forest plot of differences with a line at zero.

    Intervals above zero are green, intervals below zero are red, and others are grey.
    """
    low = min(0.0, *(estimate.low for _, estimate in rows))
    high = max(0.0, *(estimate.high for _, estimate in rows))
    # An axis needs a length even if all intervals are zero.
    room = (high - low) * 0.04 or 1.0
    scale = Scale(low - room, high + room, _NAMES, _PLOT)
    return ForestPlot(
        width=_NAMES + _PLOT + _TEXT,
        height=_ROW * len(rows),
        names_end=_NAMES - 14,
        labels_start=_NAMES + _PLOT + 14,
        ticks=_difference_ticks(scale),
        rows=[
            ForestRow(
                name=name,
                label=signed(estimate),
                y=_ROW * (index + 0.5),
                low=scale(estimate.low),
                value=scale(estimate.value),
                high=scale(estimate.high),
                colour=_colour(estimate),
            )
            for index, (name, estimate) in enumerate(rows)
        ],
    )


def histogram(values: Values, label: str, bins: int = 41) -> Histogram:
    """Return a histogram of differences with lines at zero and at the mean."""
    # The axis is symmetric, so that zero is in the middle of the central bin.
    largest = float(np.abs(values).max()) or 1.0
    counts, edges = np.histogram(values, bins=bins, range=(-largest, largest))
    width, height = 720.0, 170.0
    # Margins for the labels of the outer ticks.
    scale = Scale(-largest, largest, 16, width - 32)
    bars = []
    for count, left, right in zip(counts, edges[:-1], edges[1:], strict=True):
        middle = (left + right) / 2
        # The bin around zero contains ties, which are neither gains nor losses.
        colour = _NONE if abs(middle) < (right - left) / 2 else _GOOD if middle > 0 else _BAD
        bars.append(
            Bar(
                x=scale(left) + 1,
                width=scale(right) - scale(left) - 2,
                height=height * count / counts.max(),
                colour=colour,
                title=f"{count} from {left:.3g} to {right:.3g}",
            )
        )
    mean = float(values.mean())
    return Histogram(
        width=width,
        height=height,
        label=label,
        ticks=_difference_ticks(scale),
        bars=bars,
        mean=Tick(scale(mean), f"mean {mean:+.3f}"),
    )


def line_plot(curves: Sequence[tuple[str, Values]], label: str, width: float = 330.0) -> LinePlot:
    """Return a line plot of curves over 0, 1, 2, … with a legend. The reference comes first."""
    height, left, right = 150.0, 36.0, width - 10
    top = max(float(values.max()) for _, values in curves) * 1.05 or 1.0
    last = max(len(values) for _, values in curves) - 1
    across = Scale(0, max(last, 1), left, right - left)
    up = Scale(0, top, height, 6 - height)
    return LinePlot(
        width=width,
        height=height,
        left=left,
        right=right,
        label=label,
        x_ticks=[Tick(across(x), str(x)) for x in range(0, last + 1, max(1, last // 6))],
        y_ticks=[Tick(up(tick), f"{tick:g}") for tick in up.ticks()],
        curves=[
            Curve(
                name=name,
                colour=LINES[index % len(LINES)],
                points=" ".join(
                    f"{across(x):.1f},{up(float(y)):.1f}" for x, y in enumerate(values)
                ),
            )
            for index, (name, values) in enumerate(curves)
        ],
    )


def _difference_ticks(scale: Scale) -> list[Tick]:
    return [
        Tick(scale(tick), "0" if abs(tick) < 1e-12 else f"{tick:+.3g}") for tick in scale.ticks()
    ]


def _colour(estimate: Estimate) -> str:
    if not estimate.excludes_zero:
        return _NONE
    return _GOOD if estimate.low > 0 else _BAD


def _round_step(step: float) -> float:
    """Round a step up to 1, 2, 5 or 10 times a power of ten."""
    power = 10.0 ** floor(log10(step))
    # The tolerance absorbs the rounding error of a step that is already round.
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= step * 0.999)
