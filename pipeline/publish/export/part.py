"""Some consecutive pairs of a split on their way into a file."""

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.records import Split
from pipeline.storage.schema import NoisePair


@dataclass(frozen=True, kw_only=True)
class Part:
    """The pairs of one file, or, where each pair is a file, of one round of files."""

    split: Split
    index: int
    parts: int
    """In the split."""
    first: int
    """Position of the first pair in its split."""
    pairs: Iterator[NoisePair]
    """To be read once; never empty. Every pair has its source noise."""

    @property
    def name(self) -> str:
        """As ``train-00002-of-00010``, by which the Hugging Face hub knows a split."""
        return f"{self.split.value}-{self.index:05d}-of-{self.parts:05d}"
