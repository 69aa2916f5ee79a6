"""Axes of the charts of a page: scales, ticks and titles.

Horizontal positions are percentages of the plot's width, and vertical ones are pixels from its top.
The templates draw them as inline SVG without a scale, so text keeps its size on every screen.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

HEIGHT = 170.0
"""Height of the plot in pixels, without labels and titles."""
_MOST_TICKS = 6
_ROOM = 3.0
"""Margin inside the plot on both sides, in per cent of its width."""


@dataclass(frozen=True)
class Scale:
    """Linear map from values to positions on an axis."""

    low: float
    high: float
    start: float
    length: float

    @classmethod
    def across(cls, low: float, high: float) -> "Scale":
        """Return the scale of a horizontal axis from ``low`` to ``high``."""
        # An axis needs a length even if all values are equal.
        if not high > low:
            low, high = low - (abs(low) or 1.0), high + (abs(high) or 1.0)
        return cls(low, high, _ROOM, 100 - 2 * _ROOM)

    @classmethod
    def up(cls, high: float) -> "Scale":
        """Return the scale of a vertical axis from 0 to at least ``high``."""
        return cls(0.0, high if high > 0 else 1.0, HEIGHT, 6 - HEIGHT)

    def __call__(self, value: float) -> float:
        """Return the position of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * self.length

    def ticks(self, most: int = _MOST_TICKS) -> list[float]:
        """Return round values within the axis, at most ``most`` and one."""
        step = _round_step((self.high - self.low) / most)
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
class Axis:
    """Axis with a title that names its unit."""

    title: str
    ticks: Sequence[Tick]


def plain_ticks(scale: Scale, most: int = _MOST_TICKS) -> list[Tick]:
    """Return labelled ticks of an axis."""
    return [Tick(scale(tick), _short(tick)) for tick in scale.ticks(most)]


def share_ticks(scale: Scale, most: int = _MOST_TICKS) -> list[Tick]:
    """Return ticks of an axis of shares, labelled in per cent."""
    return [Tick(scale(tick), f"{100 * tick:.3g}%") for tick in scale.ticks(most)]


def difference_ticks(scale: Scale) -> list[Tick]:
    """Return ticks of an axis of differences, labelled with their signs."""
    return [
        Tick(scale(tick), "0" if abs(tick) < 1e-12 else f"{tick:+.3g}".replace("-", "−"))
        for tick in scale.ticks()
    ]


def _short(value: float) -> str:
    """Format a tick with few characters."""
    if abs(value) < 1e-12:
        return "0"
    text = f"{value:,.0f}" if 1_000 <= abs(value) < 1e7 else f"{value:.4g}"
    return text.replace("-", "−")


def _round_step(step: float) -> float:
    """Round a step up to 1, 2, 5 or 10 times a power of ten."""
    power = 10.0 ** floor(log10(step))
    # The tolerance absorbs the rounding error of a step that is already round.
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= step * 0.999)
