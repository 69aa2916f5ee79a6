"""Checks of the reader's arguments."""

from collections.abc import Sequence

from pipeline.errors import UserError
from pipeline.records import Split


def split_named(name: str) -> Split:
    """Return the split with a name. Raise ``UserError`` if there is none."""
    try:
        return Split(name)
    except ValueError:
        raise UserError(f"no split {name!r}; there are {', '.join(Split)}") from None


def check_one_of(name: str, value: str, allowed: Sequence[str]) -> None:
    """Raise ``UserError`` if a value is not in ``allowed``."""
    if value not in allowed:
        raise UserError(f"no {name} {value!r}; there are {', '.join(allowed)}")


def check_at_least(least: int, **values: int | None) -> None:
    """Raise ``UserError`` if a named number is smaller than ``least``. None is accepted."""
    for name, value in values.items():
        if value is not None and value < least:
            raise UserError(f"{name} is at least {least}, not {value}")


def names(name: str, values: Sequence[str]) -> tuple[str, ...]:
    """Return names as a tuple. Raise ``UserError`` for a string: its letters would be the names."""
    if isinstance(values, str):
        raise UserError(f"{name} is a list of names, not the text {values!r}")
    return tuple(values)
