"""Consecutive pairs of a split that go into one file."""

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.records import Split
from pipeline.storage.schema import NoisePair


@dataclass(frozen=True, kw_only=True)
class Part:
    """Pairs of one file, or of one batch of files if each pair is a file."""

    split: Split
    index: int
    parts: int
    """Number of parts in the split."""
    first: int
    """Position of the first pair in its split."""
    pairs: Iterator[NoisePair]
    """Iterator over the pairs, which can be read once and is never empty; all have source noise."""

    @property
    def name(self) -> str:
        """Name like ``train-00002-of-00010``, from which the Hugging Face hub infers the split."""
        return f"{self.split.value}-{self.index:05d}-of-{self.parts:05d}"
