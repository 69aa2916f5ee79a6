"""Limits on prompt files, which may be made so that they take far more memory than their size.

A compressed file, a dictionary of texts and a row without text can be a thousand times larger in
memory than on disk. Real prompt files expand ten times at most.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Self

from pipeline.core.errors import PromptFileError

LONGEST = 16 * 2**20
"""Maximum number of bytes in a line, a record or a member. It bounds the memory for each."""

LONGEST_PROMPT = 1_000_000
"""Maximum number of characters in a prompt. Text encoders read less than 10,000."""

FREE_ROWS = 500_000
"""Number of rows that a source may have, however short they are."""

CHARACTERS_PER_ROW = 8
"""Least number of characters in a row, on average over the rows beyond ``FREE_ROWS``."""

FREE_BYTES = 16 * 2**20
"""Number of bytes to which a file may expand, however small it is."""

MAX_RATIO = 100
"""Largest ratio between the expanded size and the size of a larger file."""

_NAMES_SHOWN = 20


@dataclass
class Expansion:
    """Number of bytes that may still be read from a file that expands."""

    where: str
    limit: int
    used: int = 0

    @classmethod
    def of(cls, path: Path) -> Self:
        """Return the limit for a file."""
        return cls(where=str(path), limit=FREE_BYTES + MAX_RATIO * path.stat().st_size)

    def spend(self, num_bytes: int) -> None:
        """Count bytes before they are read. Raise ``PromptFileError`` beyond the limit."""
        self.used += num_bytes
        if self.used > self.limit:
            raise PromptFileError(
                f"{self.where}: expands to more than {self.limit:,} bytes ({FREE_BYTES:,}, and "
                f"{MAX_RATIO} times its size); unpack it first if you trust it, or write it again "
                "without repeated texts"
            )


@dataclass
class RowCount:
    """Number of rows and characters that were read from a source."""

    where: str
    rows: int = 0
    characters: int = 0

    def add(self, text: str | None) -> None:
        """Count a row. Raise ``PromptFileError`` for one too many, or for one that is too long."""
        size = len(text or "")
        if size > LONGEST_PROMPT:
            raise PromptFileError(
                f"{self.where}: row {self.rows} has {size:,} characters; a prompt has at most "
                f"{LONGEST_PROMPT:,}"
            )
        self.rows += 1
        self.characters += size
        if self.rows > FREE_ROWS + self.characters // CHARACTERS_PER_ROW:
            raise PromptFileError(
                f"{self.where}: more than {FREE_ROWS:,} rows, with less than {CHARACTERS_PER_ROW} "
                "characters on average; remove rows without a prompt"
            )


def listed(names: Iterable[str]) -> str:
    """Return the first names, quoted, for an error message."""
    shown = [repr(name) for name in islice(names, _NAMES_SHOWN + 1)]
    more = " …" if len(shown) > _NAMES_SHOWN else ""
    return ", ".join(shown[:_NAMES_SHOWN]) + more
