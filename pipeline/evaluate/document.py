"""Text of reports: sections of paragraphs and tables, Markdown, and the format of numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.core.escape import for_markdown
from pipeline.evaluate.compare import Estimate


@dataclass(frozen=True)
class Table:
    """Table with a first column of text and further columns of numbers."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class ReportSection:
    """Heading with the paragraphs and tables below it."""

    heading: str
    blocks: Sequence[str | Table]


def to_markdown(sections: Sequence[ReportSection]) -> str:
    """Return the sections as Markdown. The heading of the first one is the title."""
    parts = []
    for position, section in enumerate(sections):
        parts.append(f"{'##' if position else '#'} {for_markdown(section.heading)}")
        parts += [
            for_markdown(block) if isinstance(block, str) else markdown_table(block)
            for block in section.blocks
        ]
    return "\n\n".join(parts) + "\n"


def markdown_table(table: Table) -> str:
    """Return a Markdown table with aligned columns: the first to the left, others to the right."""
    header, *rows = ([*map(for_markdown, row)] for row in (table.header, *table.rows))
    widths = [max(len(cell) for cell in column) for column in zip(header, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        first, *rest = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        aligned = [cell.strip().rjust(len(cell)) for cell in rest]
        return f"| {' | '.join([first, *aligned])} |"

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([line(header), f"| {' | '.join(rule)} |", *map(line, rows)])


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
