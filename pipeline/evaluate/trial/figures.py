"""Text format of the numbers in reports."""

from pipeline.evaluate.statistics import Estimate


def signed(estimate: Estimate, digits: int = 3) -> str:
    """Format a difference with its sign and interval."""
    value, low, high = (
        f"{number:+.{digits}f}" for number in (estimate.value, estimate.low, estimate.high)
    )
    return f"{value} [{low}, {high}]".replace("-", "−")


def percent(estimate: Estimate) -> str:
    """Format a share as a percentage with its interval."""
    return f"{estimate.value:.1%} [{estimate.low:.1%}, {estimate.high:.1%}]".replace("-", "−")


def share(estimate: Estimate | None) -> str:
    """Format a share as a percentage without its interval; empty for None."""
    if estimate is None:
        return ""
    # Adding 0.0 turns -0.0 into 0.0, which prints without a sign.
    return f"{round(estimate.value, 2) + 0.0:.0%}".replace("-", "−")


def p_value(value: float) -> str:
    """Format a p-value with two significant digits; below 0.0001, only that bound."""
    return "< 0.0001" if value < 0.0001 else f"{value:.2g}"
