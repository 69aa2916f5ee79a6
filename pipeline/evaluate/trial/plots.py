"""Plots as inline SVG: intervals, histograms and lines."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

import numpy as np

from pipeline.evaluate.compare import Estimate, Values
from pipeline.evaluate.document import signed
from pipeline.evaluate.trial.html import Html, tag

_GOOD, _BAD, _NONE, _LINE = "#18794e", "#c62a2f", "#8b9298", "#e3e6e8"
LINES = ("#8b9298", "#0b68cb", "#18794e", "#ad5700", "#793aaf")
"""Distinct line colours. The first is for the reference."""

_ROW, _NAMES, _PLOT, _TEXT = 26, 300, 520, 210


@dataclass(frozen=True)
class Scale:
    """Linear map from values to positions on an axis, in pixels."""

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


def forest(rows: Sequence[tuple[str, Estimate]]) -> Html:
    """Return a forest plot: one row for each difference and its interval, and a line at zero.

    Intervals above zero are green, intervals below zero are red, and others are grey.
    """
    low = min(0.0, *(estimate.low for _, estimate in rows))
    high = max(0.0, *(estimate.high for _, estimate in rows))
    room = (high - low) * 0.04 or 1.0
    scale = Scale(low - room, high + room, _NAMES, _PLOT)
    height = _ROW * len(rows)
    parts = _grid(scale, height)
    for index, (name, estimate) in enumerate(rows):
        y, colour = _ROW * (index + 0.5), _colour(estimate)
        parts += [
            tag("text", name, x=_NAMES - 14, y=y + 4, text_anchor="end"),
            _segment(scale(estimate.low), y, scale(estimate.high), y, colour, 2),
            tag("circle", cx=scale(estimate.value), cy=y, r=4.5, fill=colour),
            tag("text", signed(estimate), x=_NAMES + _PLOT + 14, y=y + 4, class_="faint"),
        ]
    return _svg(_NAMES + _PLOT + _TEXT, height + 28, parts)


def histogram(values: Values, label: str, bins: int = 41) -> Html:
    """Return a histogram of differences with lines at zero and at the mean."""
    largest = float(np.abs(values).max()) or 1.0
    counts, edges = np.histogram(values, bins=bins, range=(-largest, largest))
    width, height = 720.0, 170.0
    # Margins for the labels of the outer ticks.
    scale = Scale(-largest, largest, 16, width - 16)
    parts = _grid(scale, height)
    for count, left, right in zip(counts, edges[:-1], edges[1:], strict=True):
        middle = (left + right) / 2
        size = height * count / counts.max()
        # The bin around zero contains ties, which are neither gains nor losses.
        colour = _NONE if abs(middle) < (right - left) / 2 else _GOOD if middle > 0 else _BAD
        parts.append(
            tag(
                "rect",
                tag("title", f"{count} from {left:.3g} to {right:.3g}"),
                x=scale(left) + 1,
                y=height - size,
                width=scale(right) - scale(left) - 2,
                height=size,
                fill=colour,
            )
        )
    mean = float(values.mean())
    parts += [
        tag(
            "line",
            x1=scale(mean),
            x2=scale(mean),
            y1=0,
            y2=height,
            stroke="#1c2024",
            stroke_dasharray="4 3",
        ),
        tag("text", f"mean {mean:+.3f}", x=scale(mean) + 6, y=12),
        tag("text", label, x=width / 2, y=height + 40, text_anchor="middle", class_="faint"),
    ]
    return _svg(width, height + 46, parts)


def lines(curves: Sequence[tuple[str, Values]], label: str, width: float = 330.0) -> Html:
    """Return a line plot of curves over 0, 1, 2, … with a legend. The reference comes first."""
    height = 150.0
    top = max(float(values.max()) for _, values in curves) * 1.05 or 1.0
    last = max(len(values) for _, values in curves) - 1
    across, up = Scale(0, max(last, 1), 36, width - 46), Scale(0, top, height, -height + 6)
    parts = []
    for tick in up.ticks():
        parts += [
            _segment(36, up(tick), width - 10, up(tick), _LINE, 1),
            tag("text", f"{tick:g}", x=30, y=up(tick) + 4, text_anchor="end", class_="faint"),
        ]
    for frequency in range(last + 1):
        if frequency % max(1, last // 6) == 0:
            parts.append(
                tag(
                    "text",
                    str(frequency),
                    x=across(frequency),
                    y=height + 16,
                    text_anchor="middle",
                    class_="faint",
                )
            )
    for index, (name, values) in enumerate(curves):
        colour = LINES[index % len(LINES)]
        points = " ".join(f"{across(x):.1f},{up(float(y)):.1f}" for x, y in enumerate(values))
        parts += [
            tag("polyline", points=points, fill="none", stroke=colour, stroke_width=2),
            tag("rect", x=36, y=height + 44 + 18 * index, width=12, height=3, fill=colour),
            tag("text", name, x=54, y=height + 49 + 18 * index),
        ]
    parts.append(
        tag("text", label, x=width / 2, y=height + 32, text_anchor="middle", class_="faint")
    )
    return _svg(width, height + 48 + 18 * len(curves), parts)


def _grid(scale: Scale, height: float) -> list[Html]:
    """Return vertical lines with labels at round values. The line at zero is dark."""
    parts = []
    for tick in scale.ticks():
        is_zero = abs(tick) < 1e-12
        parts += [
            _segment(scale(tick), 0, scale(tick), height, "#687076" if is_zero else _LINE, 1),
            tag(
                "text",
                "0" if is_zero else f"{tick:+.3g}",
                x=scale(tick),
                y=height + 18,
                text_anchor="middle",
                class_="faint",
            ),
        ]
    return parts


def _segment(x1: float, y1: float, x2: float, y2: float, colour: str, width: float) -> Html:
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke=colour, stroke_width=width)


def _colour(estimate: Estimate) -> str:
    if estimate.low > 0:
        return _GOOD
    return _BAD if estimate.high < 0 else _NONE


def _round_step(step: float) -> float:
    """Round a step up to 1, 2, 5 or 10 times a power of ten."""
    power = 10.0 ** floor(log10(step))
    # The tolerance absorbs the rounding error of a step that is already round.
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= step * 0.999)


def _svg(width: float, height: float, parts: Sequence[Html]) -> Html:
    return tag(
        "svg",
        *parts,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width:g} {height:g}",
        width=width,
        height=height,
        role="img",
    )
