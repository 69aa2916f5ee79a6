"""Validation errors in plain words: the key, what is expected, and the value that was found.

pydantic's messages use terms of Python ("a valid tuple"), span several lines and link to a page.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

_SHOWN_CHARACTERS = 80
"""Number of characters of a wrong value in a message."""

_EXPECTED = {
    "string_type": "a text in quotes",
    "string_unicode": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number with fewer digits",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "tuple_type": "a list in brackets",
    "list_type": "a list in brackets",
    "dict_type": "a table of keys and values",
    "model_type": "a table of keys and values",
    "model_attributes_type": "a table of keys and values",
    "dataclass_type": "a table of keys and values",
    "none_required": "nothing",
    "literal_error": "one of {expected}",
    "enum": "one of {expected}",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "too_short": "a list of at least {min_length}",
    "too_long": "a list of at most {max_length}",
    "string_pattern_mismatch": "a text that matches {pattern}",
    "string_too_short": "a text of at least {min_length} characters",
    "string_too_long": "a text of at most {max_length} characters",
    "date_type": "a date",
    "datetime_type": "a date with a time",
}
"""Maps pydantic's error types to what they expect, with fields of the error's context."""

_STATED = {
    "missing": "required, and not set",
    "missing_argument": "required, and not set",
    "extra_forbidden": "unknown key",
    "union_tag_not_found": "required, and not set",
    "invalid-json-value": "a date or time is not possible here; write it as a text in quotes",
    "recursion_loop": "nested too deeply",
}
"""Maps error types to a complete statement."""

_SCALARS = ("bool", "int", "float", "str")
"""Names of pydantic for the types of a value that may have one of several."""


@dataclass(frozen=True)
class Finding:
    """One wrong value."""

    key: tuple[str | int, ...]
    """Keys and positions that lead to it, as in ``("rewards", 0, "name")``."""
    kind: str
    """pydantic's error type."""
    text: str
    """Description of the error, without the key."""

    @property
    def dotted(self) -> str:
        """Key as one text, as in ``rewards.0.name``; empty for the record itself."""
        return ".".join(map(str, self.key))


def explain(error: Exception) -> str:
    """Return the findings of a validation error in one line, each with its key.

    The text of any other error is returned as it is.
    """
    if not isinstance(error, ValidationError):
        return str(error)
    found = ((each.dotted, each.text) for each in findings(error))
    return "; ".join(f"{dotted}: {text}" if dotted else text for dotted, text in found)


def findings(error: ValidationError, patterns: Mapping[str, str] | None = None) -> list[Finding]:
    """Return what is wrong with each value.

    ``patterns`` maps regular expressions to words for the texts that they accept.
    """
    groups = groupby(error.errors(), key=_place)
    return [_finding(key, list(group), patterns or {}) for key, group in groups]


def _place(found: ErrorDetails) -> tuple[str | int, ...]:
    # A value that may have one of several types has an error for each, with its type in the place.
    *place, last = found["loc"] or ("",)
    return tuple(place) if last in _SCALARS or last == "" else found["loc"]


def _finding(
    key: tuple[str | int, ...], group: Sequence[ErrorDetails], patterns: Mapping[str, str]
) -> Finding:
    first = group[0]
    kind, context = first["type"], first.get("ctx", {})
    if kind == "value_error":
        text = first["msg"].removeprefix("Value error, ")
    elif kind == "json_invalid":
        text = f"not valid JSON: {context['error']}"
    elif kind in _STATED:
        text = _STATED[kind]
    elif kind == "union_tag_invalid":
        choices, given = _words(context["expected_tags"]), _words(context["discriminator"])
        text = f"must be one of {choices}; got {shown(first['input'][given])}"
    else:
        expected = " or ".join(_expected(found, patterns) for found in group)
        text = f"must be {expected}; got {shown(first['input'])}"
    return Finding(key, kind, text)


def _expected(found: ErrorDetails, patterns: Mapping[str, str]) -> str:
    context = found.get("ctx", {})
    if words := patterns.get(str(context.get("pattern"))):
        return words
    template = _EXPECTED.get(found["type"], "another value")
    return template.format(**{name: _words(value) for name, value in context.items()})


def _words(value: object) -> str:
    """Return a field of an error's context as text: 1.0 as 1, and choices without quotes."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    # pydantic joins them as in 'a', 'b' or 'c'.
    return str(value).replace("'", "")


def shown(value: Any) -> str:
    """Return a value as it would be written in a configuration, shortened if it is long."""
    if isinstance(value, float):
        return repr(value)
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (TypeError, ValueError):  # keys that are no text, or nested too deeply
        text = str(value)
    if len(text) > _SHOWN_CHARACTERS:
        return f"{text[:_SHOWN_CHARACTERS]}…"
    return text
