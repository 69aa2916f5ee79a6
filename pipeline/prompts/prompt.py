"""A prompt as it was read, and why one is dropped.

Text in which something can be seen. A prompt without any is blank."""

import unicodedata
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


# Control and format characters, such as NUL, the zero-width space and the byte order mark, half
# surrogate pairs, and white space.
_UNSEEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp", "Zs"})

# Characters of other categories that fonts draw as nothing: the combining grapheme joiner, fillers
# of Hangul and Khmer, variation selectors, and the Braille pattern without a dot.
_UNSEEN = frozenset(
    {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0}
    | {*range(0x180B, 0x1810)}
    | {*range(0xFE00, 0xFE10)}
    | {*range(0xE0100, 0xE01F0)}
)

_EXAMPLES = 4


def is_visible(text: str) -> bool:
    """Return True if a character of the text can be seen."""
    return any(
        unicodedata.category(character) not in _UNSEEN_CATEGORIES and ord(character) not in _UNSEEN
        for character in text
    )


def code_points(text: str) -> str:
    """Return the distinct characters of a text as U+…, the first few of them."""
    distinct = list(dict.fromkeys(character for character in text if character != " "))
    more = " …" if len(distinct) > _EXAMPLES else ""
    return " ".join(f"U+{ord(character):04X}" for character in distinct[:_EXAMPLES]) + more
