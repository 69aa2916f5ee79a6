"""Tests of the layout of charts, against positions computed by hand."""

import numpy as np
import pytest

from pipeline.evaluate.compare import Estimate
from pipeline.evaluate.pages.axes import HEIGHT, Scale
from pipeline.evaluate.pages.charts import distributions, histogram, line_plot, shares_over
from pipeline.evaluate.pages.forest import forest_plot, share_plot


def points(text: str) -> list[tuple[float, float]]:
    pairs = (point.split(",") for point in text.split())
    return [(float(x), float(y)) for x, y in pairs]


def test_forest_plot_places_intervals_by_value_and_colours_by_sign() -> None:
    rows = [("up", Estimate(2.0, 1.0, 3.0)), ("down", Estimate(-1.0, -1.5, -0.5))]
    up, down, none = forest_plot([*rows, ("none", Estimate(0.0, -1.0, 1.0))], "gain").rows
    assert up.value - none.value == pytest.approx(2 * (none.value - down.value))
    assert (up.low + up.high) / 2 == pytest.approx(up.value)
    assert (up.colour, down.colour, none.colour) == ("good", "bad", "none")
    assert all(0 <= each <= 100 for row in (up, down) for each in (row.low, row.high))


def test_shares_are_coloured_where_they_exclude_the_overall_share() -> None:
    plot = share_plot(
        [
            ("usual", Estimate(0.8, 0.7, 0.9)),
            ("low", Estimate(0.5, 0.4, 0.6)),
            ("high", Estimate(0.95, 0.9, 0.99)),
        ],
        "kept share",
        0.8,
    )
    assert [row.colour for row in plot.rows] == ["none", "bad", "good"]
    assert plot.reference == pytest.approx(plot.rows[0].value)


def test_histogram_bars_are_within_the_plot_and_as_high_as_their_counts() -> None:
    plot = histogram(np.array([-2.0, 1.0, 1.0, 1.0, 0.0]), "gain", counted="pairs", bins=5)
    highest = max(bar.height for bar in plot.bars)
    assert [bar.height / highest for bar in plot.bars] == pytest.approx([1 / 3, 0, 1 / 3, 1, 0])
    assert 0 < highest <= plot.height
    assert plot.bars[0].x > 0 and plot.bars[-1].x + plot.bars[-1].width < 100
    assert len({bar.colour for bar in plot.bars}) == 3
    assert [rule.label for rule in plot.rules] == ["mean +0.200"]
    assert (plot.x.title, plot.y.title) == ("gain", "pairs")


def test_line_plot_spans_the_values() -> None:
    plot = line_plot([("flat", np.zeros(3)), ("rising", np.array([0.0, 1.0, 2.0]))], "x", "y")
    across = Scale.across(0, 2)
    found = points(plot.curves[1].points)
    assert [x for x, _ in found] == [across(0), across(1), across(2)]
    assert found[0][1] == HEIGHT and HEIGHT > found[1][1] > found[2][1] > 0


def test_distribution_counts_what_lies_beyond_its_ends() -> None:
    values = np.array([-9.0, -9.0, 0.1, 9.0])
    plot = distributions([("noise", values)], "deviation", limits=(-1, 1), bins=4)
    # Each bin is two points between the ends, which lie on the axis.
    heights = [HEIGHT - y for _, y in points(plot.curves[0].points)][1:-1:2]
    assert [height / heights[0] for height in heights] == pytest.approx([1, 0, 0.5, 0.5])


def test_distribution_draws_the_expected_shares_first() -> None:
    plot = distributions(
        [("noise", np.zeros(3))],
        "deviation",
        limits=(0, 1),
        expected=lambda value: value,
        rules=[(0.5, "gate"), (7.0, "beyond")],
        bins=10,
    )
    expected = [HEIGHT - y for _, y in points(plot.curves[0].points)][1:-1]
    assert len(plot.curves) == 2 and len(set(expected)) == 1, "equal bins of a uniform law"
    assert [rule.label for rule in plot.rules] == ["gate"]


def test_shares_over_time_stay_within_the_plot() -> None:
    plot = shares_over(
        [(0.0, Estimate(0.0, 0.0, 0.1), "a"), (5.0, Estimate(1.0, 0.9, 1.0), "b")], "t", "kept", 0.5
    )
    first, last = plot.intervals
    assert first.value == HEIGHT and 0 < last.value < last.low < first.high < HEIGHT
    assert 0 <= first.x < last.x <= 100


@pytest.mark.parametrize("value", [0.0, 5.0, -3.0, 1e-30, 1e30])
def test_charts_of_equal_values_have_axes(value: float) -> None:
    values = np.full(4, value)
    for plot in (
        histogram(values, "gain", counted="pairs"),
        distributions([("a", values)], "score"),
        line_plot([("a", np.abs(values))], "x", "y"),
    ):
        assert plot.x.ticks and plot.y.ticks
        assert all(0 <= tick.position <= 100 for tick in plot.x.ticks)
