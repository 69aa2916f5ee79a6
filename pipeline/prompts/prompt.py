"""Prompts as they are read, reasons to drop them, and the test for visible text."""

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from pipeline.core.records import DropReason


@dataclass(frozen=True, slots=True)
class SourcePrompt:
    """A prompt and its place in a source."""

    text: str
    """Normalised text."""
    source: str
    """Name of the source."""
    row: int
    """Number of the row, from 0, counted over all files of the source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """Reason why a prompt is dropped."""

    reason: DropReason
    detail: str | None = None
    """Details of the reason: the phrase, the numbers of tokens, the verdict or the similarity."""
    resembles: SourcePrompt | None = None
    """Earlier prompt that this one repeats."""


PromptFilter = Callable[[Sequence[SourcePrompt]], Iterable[Drop | None]]
"""Yields for each prompt, in order, the reason to drop it, or None to keep it."""

# Control and format characters, such as NUL, the zero-width space and the byte order mark, half
# surrogate pairs, and white space.
_INVISIBLE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp", "Zs"})

# Characters of other categories that fonts draw as nothing: the combining grapheme joiner, fillers
# of Hangul and Khmer, variation selectors, and the Braille pattern without a dot.
_INVISIBLE = frozenset(
    {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0}
    | {*range(0x180B, 0x1810)}
    | {*range(0xFE00, 0xFE10)}
    | {*range(0xE0100, 0xE01F0)}
)

_CODE_POINTS_SHOWN = 4


def is_visible(text: str) -> bool:
    """Return True if the text has a visible character. A prompt without one is blank."""
    return any(
        unicodedata.category(character) not in _INVISIBLE_CATEGORIES
        and ord(character) not in _INVISIBLE
        for character in text
    )


def code_points(text: str) -> str:
    """Return the first few distinct characters of a text as U+…, without spaces."""
    distinct = list(dict.fromkeys(character for character in text if character != " "))
    more = " …" if len(distinct) > _CODE_POINTS_SHOWN else ""
    shown = distinct[:_CODE_POINTS_SHOWN]
    return " ".join(f"U+{ord(character):04X}" for character in shown) + more
