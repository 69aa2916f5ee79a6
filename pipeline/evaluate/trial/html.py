"""Functions that build HTML and SVG. They escape text and close elements."""

from collections.abc import Sequence
from html import escape

from pipeline.evaluate.document import ReportSection, Table
from pipeline.evaluate.trial.style import STYLE


class Html(str):
    """Markup, which ``tag`` does not escape."""

    __slots__ = ()


def tag(name: str, /, *children: str, **attributes: str | float) -> Html:
    """Return an element. The attribute ``text_anchor`` becomes text-anchor, ``class_`` class."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_number(value))}"'
        for key, value in attributes.items()
    )
    inner = "".join(child if isinstance(child, Html) else escape(child) for child in children)
    if name in ("img", "meta"):
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{inner}</{name}>")


def page(title: str, body: Sequence[str]) -> str:
    """Return a self-contained page."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", Html(STYLE)),
    )
    return f"<!doctype html>\n{tag('html', head, tag('body', tag('main', *body)), lang='en')}\n"


def _number(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.6g}"


def table_element(table: Table) -> Html:
    """Return a table as an HTML element."""
    head = tag("tr", *(tag("th", cell) for cell in table.header))
    body = [tag("tr", *(tag("td", cell) for cell in row)) for row in table.rows]
    return tag("table", tag("thead", head), tag("tbody", *body))


def to_html(sections: Sequence[ReportSection]) -> str:
    """Return the sections as a self-contained HTML page."""
    elements = []
    for position, section in enumerate(sections):
        elements.append(tag("h2" if position else "h1", section.heading))
        elements += [
            tag("p", block) if isinstance(block, str) else table_element(block)
            for block in section.blocks
        ]
    return page(sections[0].heading, elements)
