"""Escaping of text that comes from data: names, prompts, reasons, keys, messages of errors.

Such text may hold terminal commands or markup, made by accident or on purpose. Each place that
shows text has one function here. The templates of pages escape markup by themselves.
"""

import re
import unicodedata

_MARKUP = re.compile(r"<(?=[A-Za-z/!?])|\||(?<=\])\(")
"""Characters that start HTML or a link in angle brackets, end a table cell, or make a link."""

_INVISIBLE = {"Cc", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode categories of characters that a page shows as escapes: control characters and others
without a glyph. Joiners (Cf) stay, because Persian, Hindi and emoji need them."""
_REORDERING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that change the order of the text around them."""


def for_terminal(text: str) -> str:
    """Return ``text`` with its control and formatting characters escaped, except line breaks."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each in "\n\t" else _escaped(each) for each in text
    )


def for_terminal_line(text: str) -> str:
    """Return ``text`` as ``for_terminal`` does, with line breaks and tabs escaped too."""
    return text if text.isprintable() else "".join(map(_escaped, text))


def for_markdown(text: str) -> str:
    """Return ``text`` so that Markdown shows it in one line, without HTML, cells and links."""
    return _MARKUP.sub(lambda match: f"\\{match[0]}", for_terminal_line(text))


def for_page(text: str) -> str:
    """Return ``text`` with its control and reordering characters escaped, except line breaks.

    Markup is not escaped. Templates do that.
    """
    if text.isprintable():
        return text
    return "".join(each if _is_shown(each) else _escaped(each) for each in text)


def _is_shown(character: str) -> bool:
    if character in "\n\t":
        return True
    return character not in _REORDERING and unicodedata.category(character) not in _INVISIBLE


def _escaped(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")
