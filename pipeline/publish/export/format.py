"""Interface of an export format, and the parts of a split that it receives."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pipeline.core.records import Split
from pipeline.publish.export.spec import ExportSpec
from pipeline.storage.formats.pairs import NoisePair
from pipeline.storage.object_store import ObjectStore


@dataclass(frozen=True, kw_only=True)
class SplitPart:
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


class Format(ABC):
    """Writer of the files of one export; the same pairs must give the same bytes.

    Each method receives an empty ``folder`` and writes files into it under their final names. The
    caller stores these files and removes the folder.
    """

    has_card: ClassVar[bool] = False
    """True if the format includes a README with licences."""

    def __init__(self, spec: ExportSpec, scratch: Path) -> None:
        """Create a writer; ``scratch`` is an empty folder for intermediate files.

        Raises ``UserError`` if a library is missing.
        """
        self.spec = spec
        self.scratch = scratch

    @abstractmethod
    def write_part(self, folder: Path, part: SplitPart) -> None:
        """Write the next part; parts come in order, split after split."""

    def finish_split(self, folder: Path, split: Split) -> None:
        """Write files that need all parts of a split; by default none."""
        return

    def finish(self, folder: Path, store: ObjectStore) -> None:
        """Write files that need all splits, or that are copied from ``store``; by default none."""
        return

    def remarks(self) -> list[str]:
        """Return notes on the export to show to the user at its end."""
        return []
