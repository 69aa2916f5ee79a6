"""HTML and SVG from function calls: text is escaped, elements are closed."""

from collections.abc import Sequence
from html import escape

from pipeline.evaluate.trial.page.style import STYLE


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def tag(name: str, /, *children: str, **attributes: str | float) -> Html:
    """An element. ``text_anchor`` is written text-anchor, and ``class_`` class."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_number(value))}"'
        for key, value in attributes.items()
    )
    inner = "".join(child if isinstance(child, Html) else escape(child) for child in children)
    if name in ("img", "meta"):
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{inner}</{name}>")


def page(title: str, body: Sequence[str]) -> str:
    """A whole page, which needs no other file."""
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
