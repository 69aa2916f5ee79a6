"""Layout of the charts of a page: histograms, distributions, lines and shares over time.

Colours are names or numbers of CSS classes, because light and dark pages have other ones.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.evaluate.compare import Estimate, Values
from pipeline.evaluate.pages.axes import (
    HEIGHT,
    Axis,
    Scale,
    difference_ticks,
    plain_ticks,
    share_ticks,
)
from pipeline.evaluate.pages.forest import BAD, GOOD, NONE

NUM_SERIES = 5
"""Number of line styles. Each is a colour and a dash pattern: colour alone never tells."""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """Bar of a histogram. It stands on the horizontal axis."""

    x: float
    width: float
    height: float
    colour: str
    title: str


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Line through points. ``points`` is the attribute of an SVG polyline."""

    name: str
    style: int
    """Number of the line style, from 0; style 0 is for the reference."""
    points: str


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Value with its interval, both as vertical positions."""

    x: float
    low: float
    value: float
    high: float
    title: str


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Dashed line across the plot with a label: vertical at ``x``, or horizontal at ``y``."""

    label: str
    x: float | None = None
    y: float | None = None


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Chart with two axes. All parts are optional."""

    description: str
    """Sentence for people who do not see the chart."""
    x: Axis
    y: Axis
    bars: Sequence[Bar] = ()
    curves: Sequence[Curve] = ()
    intervals: Sequence[Interval] = ()
    rules: Sequence[Rule] = ()
    height: float = HEIGHT


def histogram(values: Values, title: str, *, counted: str, bins: int = 31) -> Chart:
    """Return a histogram of differences with lines at zero and at the mean.

    ``title`` is that of the horizontal axis, and ``counted`` names what the bars count.
    """
    # The axis is symmetric, so that zero is in the middle of the central bin.
    largest = float(np.abs(values).max()) or 1.0
    counts, edges = np.histogram(values, bins=bins, range=(-largest, largest))
    across, up = Scale.across(-largest, largest), Scale.up(float(counts.max()))
    bars = []
    for count, left, right in zip(counts, edges[:-1], edges[1:], strict=True):
        middle = (left + right) / 2
        # The bin around zero contains ties, which are neither gains nor losses.
        colour = NONE if abs(middle) < (right - left) / 2 else GOOD if middle > 0 else BAD
        bars.append(
            Bar(
                x=across(left) + 0.2,
                width=across(right) - across(left) - 0.4,
                height=HEIGHT - up(count),
                colour=colour,
                title=f"{count:,} from {left:.3g} to {right:.3g}",
            )
        )
    mean = float(values.mean())
    positive = float((values > 0).mean())
    return Chart(
        description=(
            f"Histogram of {len(values):,} {counted} by {title}: mean {mean:+.3g}, "
            f"{positive:.0%} above zero, from {values.min():.3g} to {values.max():.3g}."
        ),
        x=Axis(title=title, ticks=difference_ticks(across)),
        y=Axis(title=counted, ticks=plain_ticks(up, most=4)),
        bars=bars,
        rules=[Rule(label=f"mean {mean:+.3f}".replace("-", "−"), x=across(mean))],
    )


def distributions(
    series: Sequence[tuple[str, Values]],
    title: str,
    *,
    limits: tuple[float, float] | None = None,
    expected: Callable[[float], float] | None = None,
    rules: Sequence[tuple[float, str]] = (),
    bins: int = 40,
) -> Chart:
    """Return the distributions of one or several columns as outlines.

    Args:
        series: Names and values of the columns. The reference comes first.
        title: Title of the horizontal axis.
        limits: Ends of the axis. The outermost bins contain everything beyond. Default: the
            extremes of all values.
        expected: Cumulative distribution function of a reference that is drawn as well.
        rules: Positions and labels of vertical lines.
        bins: Number of bins.
    """
    low = min(float(values.min()) for _, values in series) if limits is None else limits[0]
    high = max(float(values.max()) for _, values in series) if limits is None else limits[1]
    across = Scale.across(low, high)
    edges = np.linspace(across.low, across.high, bins + 1)
    shares = [
        (name, np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0] / len(values))
        for name, values in series
    ]
    if expected is not None:
        below = np.array([expected(float(edge)) for edge in edges])
        shares.insert(0, ("Gaussian noise", np.diff(below)))
    up = Scale.up(max(float(share.max()) for _, share in shares))
    described = "; ".join(
        f"{name}: median {np.median(values):.3g}, 5% {np.quantile(values, 0.05):.3g}, "
        f"95% {np.quantile(values, 0.95):.3g}"
        for name, values in series
    )
    return Chart(
        description=f"Distribution of {title}. {described}.",
        x=Axis(title=title, ticks=plain_ticks(across)),
        y=Axis(title="share of candidates", ticks=share_ticks(up, most=4)),
        curves=[
            Curve(name=name, style=index, points=_outline(edges, share, across, up))
            for index, (name, share) in enumerate(shares)
        ],
        rules=[Rule(label=label, x=across(at)) for at, label in rules if low <= at <= high],
    )


def line_plot(curves: Sequence[tuple[str, Values]], x_title: str, y_title: str) -> Chart:
    """Return a line plot of curves over 0, 1, 2, … The reference comes first."""
    up = Scale.up(max(float(values.max()) for _, values in curves) * 1.05)
    across = Scale.across(0, max(1, *(len(values) - 1 for _, values in curves)))
    return Chart(
        description=f"{y_title} by {x_title}: "
        + "; ".join(f"{name} from {v[0]:.3g} to {v[-1]:.3g}" for name, v in curves)
        + ".",
        x=Axis(title=x_title, ticks=plain_ticks(across)),
        y=Axis(title=y_title, ticks=plain_ticks(up, most=4)),
        curves=[
            Curve(
                name=name,
                style=index % NUM_SERIES,
                points=_points([(across(x), up(float(y))) for x, y in enumerate(values)]),
            )
            for index, (name, values) in enumerate(curves)
        ],
    )


def shares_over(
    points: Sequence[tuple[float, Estimate, str]], x_title: str, y_title: str, overall: float
) -> Chart:
    """Return shares with their intervals, such as the kept share over time.

    A point is its horizontal value, its share and a text that is shown when it is pointed at.
    ``overall`` is drawn as a line.
    """
    across = Scale.across(min(x for x, _, _ in points), max(x for x, _, _ in points))
    up = Scale.up(1.0)
    first, last = points[0][1].value, points[-1][1].value
    return Chart(
        description=(
            f"{y_title} by {x_title}: {first:.1%} at the start, {last:.1%} at the end, "
            f"{overall:.1%} overall."
        ),
        x=Axis(title=x_title, ticks=plain_ticks(across)),
        y=Axis(title=y_title, ticks=share_ticks(up, most=4)),
        intervals=[
            Interval(
                x=across(x), low=up(each.low), value=up(each.value), high=up(each.high), title=title
            )
            for x, each, title in points
        ],
        rules=[Rule(label=f"overall {overall:.1%}", y=up(overall))],
    )


def levels_over(points: Sequence[tuple[float, float]], x_title: str, y_title: str) -> Chart:
    """Return positive values at increasing horizontal values as one line."""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    across, up = Scale.across(min(xs), max(xs)), Scale.up(max(ys) * 1.05)
    return Chart(
        description=f"{y_title} by {x_title}: from {min(ys):.3g} to {max(ys):.3g}.",
        x=Axis(title=x_title, ticks=plain_ticks(across)),
        y=Axis(title=y_title, ticks=plain_ticks(up, most=4)),
        curves=[
            Curve(name="", style=1, points=_points([(across(x), up(y)) for x, y in points])),
        ],
    )


def _outline(edges: Values, share: Values, across: Scale, up: Scale) -> str:
    """Return the outline of bars as steps, from the axis and back to it."""
    steps = [(across(float(edges[0])), up(0.0))]
    for left, right, value in zip(edges[:-1], edges[1:], share, strict=True):
        y = up(float(value))
        steps += [(across(float(left)), y), (across(float(right)), y)]
    return _points([*steps, (across(float(edges[-1])), up(0.0))])


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.2f},{y:.1f}" for x, y in points)
