"""Documents of headings, paragraphs and tables, rendered as Markdown or as HTML."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.evaluate.report import table
from pipeline.evaluate.trial.page.html import Html, page, tag


@dataclass(frozen=True)
class Heading:
    """Heading. The first heading of a document is its title."""

    text: str


@dataclass(frozen=True)
class Paragraph:
    """Paragraph of plain text."""

    text: str


@dataclass(frozen=True)
class Table:
    """Table with a first column of text and further columns of numbers."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


Block = Heading | Paragraph | Table


def to_markdown(blocks: Sequence[Block]) -> str:
    """Return the document as Markdown."""
    parts = []
    for position, block in enumerate(blocks):
        match block:
            case Heading(text):
                parts.append(f"{'##' if position else '#'} {text}")
            case Paragraph(text):
                parts.append(text)
            case Table(header, rows):
                parts.append(table(header, rows))
    return "\n\n".join(parts) + "\n"


def to_html(blocks: Sequence[Block]) -> str:
    """Return the document as a self-contained HTML page."""
    title = next(block.text for block in blocks if isinstance(block, Heading))
    return page(title, [_element(block, position) for position, block in enumerate(blocks)])


def table_element(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Html:
    """Return a table as an HTML element."""
    head = tag("tr", *(tag("th", cell) for cell in header))
    body = [tag("tr", *(tag("td", cell) for cell in row)) for row in rows]
    return tag("table", tag("thead", head), tag("tbody", *body))


def _element(block: Block, position: int) -> Html:
    match block:
        case Heading(text):
            return tag("h2" if position else "h1", text)
        case Paragraph(text):
            return tag("p", text)
        case Table(header, rows):
            return table_element(header, rows)
