"""Escaping of text that comes from data: names, prompts, reasons, keys, messages of errors.

Such text may hold terminal commands or markup, made by accident or on purpose. Each place that
shows text has one function here. Pages are templates with automatic escaping.
"""

import re

_MARKUP = re.compile(r"<(?=[A-Za-z/!?])|\||(?<=\])\(")
"""Characters that start HTML or a link in angle brackets, end a table cell, or make a link."""


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


def _escaped(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")
