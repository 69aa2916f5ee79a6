"""Regular expressions that somebody else made: those that can take very long are rejected.

The tokenizers library matches them with Oniguruma, by backtracking, with a limit of 10^7 steps for
one match. Beyond it the library panics, and a match just below it at every character of a prompt
takes minutes. Patterns of published tokenizers repeat characters and classes, and no groups.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pipeline.core.errors import ModelError

MAX_PATTERN = 4096
"""Characters of a pattern."""

_MOST_REPEATS = 2
"""Unlimited repetitions in one alternative: the steps grow with this power of a text's length."""

_MOST_CHOICES = 6
"""Optional parts and groups of alternatives in one alternative. Each can double the steps."""

_LARGEST_COUNT = 16
"""Largest number in ``{m,n}`` that does not count as unlimited."""

_TOKEN = re.compile(
    r"""(?P<reference>\\[1-9kg])
    |(?P<atom>\\[pP]\{\^?\w+\}|\\x\{[0-9a-fA-F ]+\}|\\.|[^\\\[\](){}|*+?])
    |(?P<open>\((?:\?(?:[ima-]*:|[=!>]|<[=!]|<\w+>|[ima-]+(?=\))))?(?!\?))
    |(?P<close>\))
    |(?P<alternative>\|)
    |(?P<quantifier>[*+?][?+]?|\{\d*,?\d*\}\??)""",
    re.VERBOSE | re.DOTALL,
)


@dataclass
class _Group:
    """Counts in the present alternative of a group, and the largest of those before."""

    repeats: int = 0
    choices: int = 0
    most_repeats: int = 0
    most_choices: int = 0
    alternatives: int = 1

    def end_alternative(self) -> None:
        self.most_repeats = max(self.most_repeats, self.repeats)
        self.most_choices = max(self.most_choices, self.choices)
        self.repeats = self.choices = 0


def slow_pattern(pattern: str) -> str | None:
    """Return why a pattern may take very long, or None.

    Some harmless patterns are also rejected, but none that published tokenizers have.
    """
    if len(pattern) > MAX_PATTERN:
        return f"it has {len(pattern):,} characters; at most {MAX_PATTERN:,} are supported"
    groups, last = [_Group()], ""
    for kind, text in _tokens(pattern):
        group = groups[-1]
        if kind in ("reference", "unknown"):
            return f"{text!r} is not supported"
        if kind == "open":
            groups.append(_Group())
        elif kind == "alternative":
            group.end_alternative()
            group.alternatives += 1
        elif kind == "close":
            if len(groups) == 1:
                return "a parenthesis is not opened"
            group.end_alternative()
            groups.pop()
            groups[-1].repeats += group.most_repeats
            groups[-1].choices += group.most_choices + (group.alternatives > 1)
        elif kind == "quantifier" and last in ("close", "quantifier") and not _is_option(text):
            return f"it repeats a group or a repetition ({text!r})"
        elif kind == "quantifier":
            is_unlimited = _is_unlimited(text)
            group.repeats += is_unlimited
            group.choices += not is_unlimited
        last = kind
        if group.repeats > _MOST_REPEATS or groups[-1].repeats > _MOST_REPEATS:
            return f"it has more than {_MOST_REPEATS} unlimited repetitions in a row"
        if group.choices > _MOST_CHOICES or groups[-1].choices > _MOST_CHOICES:
            return f"it has more than {_MOST_CHOICES} optional parts in a row"
    return None if len(groups) == 1 else "a parenthesis is not closed"


@contextmanager
def panics_named(where: str) -> Iterator[None]:
    """Raise ``ModelError`` for a panic of the tokenizers library, which is no ``Exception``."""
    try:
        yield
    except BaseException as error:  # the type of a panic cannot be imported
        if type(error).__name__ != "PanicException":
            raise
        raise ModelError(f"{where}: the tokenizer cannot be used: {error}") from error


def _tokens(pattern: str) -> Iterator[tuple[str, str]]:
    position = 0
    while position < len(pattern):
        if pattern[position] == "[":
            end = _end_of_class(pattern, position)
            yield ("atom", pattern[position:end]) if end else ("unknown", "[")
            position = end or len(pattern)
            continue
        found = _TOKEN.match(pattern, position)
        if found is None or found.lastgroup is None:
            yield "unknown", pattern[position : position + 3]
            return
        yield found.lastgroup, found[0]
        position = found.end()


def _end_of_class(pattern: str, start: int) -> int:
    """Return the position after a class of characters, which may hold others; 0 without an end."""
    depth, position = 0, start
    while position < len(pattern):
        character = pattern[position]
        depth += (character == "[") - (character == "]")
        position += 2 if character == "\\" else 1
        if depth == 0:
            return position
    return 0


def _is_option(quantifier: str) -> bool:
    return quantifier in ("?", "??", "?+")


def _is_unlimited(quantifier: str) -> bool:
    if quantifier[0] in "*+":
        return True
    if quantifier[0] == "?":
        return False
    first, comma, last = quantifier.rstrip("?+").strip("{}").partition(",")
    limit = last if comma else first
    return not limit or int(limit) > _LARGEST_COUNT
