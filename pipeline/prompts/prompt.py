"""A prompt as it was read, and why one is dropped."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from pipeline.records import DropReason


@dataclass(frozen=True, slots=True)
class SourcePrompt:
    """A prompt and where it was read."""

    text: str
    """Normalised."""
    source: str
    """Name of the source."""
    row: int
    """Which row of the source, from 0, over all of its files."""


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
