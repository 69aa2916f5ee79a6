"""Figures as people read them."""

from pipeline.evaluate.statistics import Estimate


def signed(estimate: Estimate, digits: int = 3) -> str:
    """A difference with its interval."""
    value, low, high = (
        f"{number:+.{digits}f}" for number in (estimate.value, estimate.low, estimate.high)
    )
    return f"{value} [{low}, {high}]".replace("-", "−")


def percent(estimate: Estimate) -> str:
    """A share with its interval."""
    return f"{estimate.value:.1%} [{estimate.low:.1%}, {estimate.high:.1%}]".replace("-", "−")


def share(estimate: Estimate | None) -> str:
    """A share without its interval; nothing where there is none."""
    if estimate is None:
        return ""
    # Adding zero makes a zero of what rounds to minus zero.
    return f"{round(estimate.value, 2) + 0.0:.0%}".replace("-", "−")


def p_value(value: float) -> str:
    """A p-value, no more of it than matters."""
    return "< 0.0001" if value < 0.0001 else f"{value:.2g}"
