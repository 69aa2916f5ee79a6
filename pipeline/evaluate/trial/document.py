"""A document of headings, paragraphs and tables, as Markdown and as a page of its own."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.evaluate.report import table
from pipeline.evaluate.trial.page.html import Html, page, tag


@dataclass(frozen=True)
class Heading:
    """The first one of a document is its title."""

    text: str


@dataclass(frozen=True)
class Paragraph:
    """Plain text."""

    text: str


@dataclass(frozen=True)
class Table:
    """The first column is text, the others are figures."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


Block = Heading | Paragraph | Table


def to_markdown(blocks: Sequence[Block]) -> str:
    """As a text file."""
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
    """As a self-contained page."""
    title = next(block.text for block in blocks if isinstance(block, Heading))
    return page(title, [_element(block, position) for position, block in enumerate(blocks)])


def table_element(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Html:
    """A table of the page."""
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
