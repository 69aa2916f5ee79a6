"""Numbers of a page's headline."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class HeadlineNumber:
    """Number of the headline, with its interval if it has one."""

    value: str
    """The number, and after a space its interval."""
    about: str
    sign: str = ""
    """CSS class: "good" or "bad" if the interval excludes zero, otherwise empty."""
