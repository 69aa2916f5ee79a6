"""A prompt as it was read, and why one is dropped."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class SourcePrompt:
    """A prompt and where it was read."""

    text: str
    """Normalised."""
    source: str
    """Name of the source."""
    row: int
    """Which row of the source, from 0, over all of its files."""


class DropReason(StrEnum):
    """Why a prompt was dropped, in the order in which it is asked."""

    BLANK = "blank"
    """No value, or no character that can be seen."""
    REPEATED = "repeated"
    """Reads like an earlier one."""
    BLOCKED = "blocked"
    """Holds a word or phrase of the block-list."""
    TOO_LONG = "too_long"
    """The model would not read it whole."""
    UNSAFE = "unsafe"
    """The safety filter says so."""
    NEAR_REPEATED = "near_repeated"
    """Nearly reads like an earlier one."""
    NOT_SAMPLED = "not_sampled"
    """More prompts were left than were asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """Why a prompt is dropped."""

    reason: DropReason
    detail: str | None = None
    """What exactly: the phrase, the tokens, the verdict, the similarity."""
    resembles: SourcePrompt | None = None
    """The earlier prompt of which it is a repeat."""


Sieve = Callable[[Sequence[SourcePrompt]], Iterable[Drop | None]]
"""Says of each prompt, in order, why it is dropped; None where it stays."""
