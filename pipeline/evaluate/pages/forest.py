"""Layout of forest plots: differences, shares with their intervals or amounts, one a row.

Colours are names of CSS classes, because light and dark pages have other ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.evaluate.compare import Estimate
from pipeline.evaluate.document import signed
from pipeline.evaluate.pages.axes import Axis, Scale, difference_ticks, plain_ticks, share_ticks

GOOD, BAD, NONE = "good", "bad", "none"


@dataclass(frozen=True, kw_only=True)
class ForestRow:
    """Row of a forest plot: a name, a difference and its interval."""

    name: str
    label: str
    low: float
    value: float
    high: float
    colour: str


@dataclass(frozen=True, kw_only=True)
class ForestPlot:
    """Forest plot: one row for each difference."""

    axis: Axis
    rows: Sequence[ForestRow]
    reference: float | None = None
    """Position of a line through all rows; None without one."""


def forest_plot(rows: Sequence[tuple[str, Estimate]], title: str, *, digits: int = 3) -> ForestPlot:
    """Return a forest plot of differences with a line at zero.

    Intervals above zero, below zero and across zero have different colours. ``title`` is that of
    the axis.
    """
    low = min([0.0, *(estimate.low for _, estimate in rows)])
    high = max([0.0, *(estimate.high for _, estimate in rows)])
    scale = Scale.across(low, high)
    return ForestPlot(
        axis=Axis(title=title, ticks=difference_ticks(scale)),
        rows=[
            ForestRow(
                name=name,
                label=signed(estimate, digits),
                low=scale(estimate.low),
                value=scale(estimate.value),
                high=scale(estimate.high),
                colour=_colour(estimate),
            )
            for name, estimate in rows
        ],
    )


def share_plot(rows: Sequence[tuple[str, Estimate]], title: str, overall: float) -> ForestPlot:
    """Return a forest plot of shares from 0 to 1 with a line at the overall share.

    Intervals that exclude the overall share are coloured.
    """
    scale = Scale.across(0.0, 1.0)
    return ForestPlot(
        axis=Axis(title=title, ticks=share_ticks(scale)),
        reference=scale(overall),
        rows=[
            ForestRow(
                name=name,
                label=f"{each.value:.1%} [{each.low:.1%}, {each.high:.1%}]",
                low=scale(each.low),
                value=scale(each.value),
                high=scale(each.high),
                colour=GOOD if each.low > overall else BAD if each.high < overall else NONE,
            )
            for name, each in rows
        ],
    )


def amount_plot(rows: Sequence[tuple[str, float, str]], title: str) -> ForestPlot:
    """Return a plot of amounts as lines from zero. A row is a name, an amount and its label."""
    scale = Scale.across(0.0, max(amount for _, amount, _ in rows))
    return ForestPlot(
        axis=Axis(title=title, ticks=plain_ticks(scale)),
        rows=[
            ForestRow(
                name=name,
                label=label,
                low=scale(0.0),
                value=scale(amount),
                high=scale(amount),
                colour=NONE,
            )
            for name, amount, label in rows
        ],
    )


def _colour(estimate: Estimate) -> str:
    if not estimate.excludes_zero:
        return NONE
    return GOOD if estimate.low > 0 else BAD
