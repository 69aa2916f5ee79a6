"""Checks of what the reader is given."""

from collections.abc import Sequence

from pipeline.errors import UserError
from pipeline.records import Split


def split_named(name: str) -> Split:
    """The split of a name. Raises ``UserError``."""
    try:
        return Split(name)
    except ValueError:
        raise UserError(f"no split {name!r}; there are {', '.join(Split)}") from None


def check_one_of(name: str, value: str, allowed: Sequence[str]) -> None:
    """Raise ``UserError`` for a value that is not among those allowed."""
    if value not in allowed:
        raise UserError(f"no {name} {value!r}; there are {', '.join(allowed)}")


def check_at_least(name: str, value: int | None, least: int) -> None:
    """Raise ``UserError`` for a number that is too small."""
    if value is not None and value < least:
        raise UserError(f"{name} is at least {least}, not {value}")


def names(name: str, values: Sequence[str]) -> tuple[str, ...]:
    """Several names. Raises ``UserError`` for one text, whose letters would be taken for them."""
    if isinstance(values, str):
        raise UserError(f"{name} is a list of names, not the text {values!r}")
    return tuple(values)
