"""What the walk over the pairs asks of a format."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pipeline.publish.export.part import Part
from pipeline.records import Split
from pipeline.storage.object_store import ObjectStore

if TYPE_CHECKING:
    from pipeline.publish.export.spec import ExportSpec


class Format(ABC):
    """Writes the files of one export; the same pairs give the same bytes.

    Files go into a ``folder`` that is empty at first, under the names that they shall have; what
    is in it afterwards is stored and removed.
    """

    has_card: ClassVar[bool] = False
    """Whether it comes with a README that says what the data may be used for."""

    def __init__(self, order: "ExportSpec", scratch: Path) -> None:
        """``scratch`` is an empty folder for what is gathered on the way.

        Raises ``UserError`` where a library is missing.
        """
        self.order = order
        self.scratch = scratch

    @abstractmethod
    def write_part(self, folder: Path, part: Part) -> None:
        """Write the next part; parts come in order, split after split."""

    def finish_split(self, folder: Path, split: Split) -> None:
        """Write what is known at the end of a split: nothing, for most."""
        return

    def finish(self, folder: Path, store: ObjectStore) -> None:
        """Write what is known at the end of all, or taken as it is from the data set's store."""
        return

    def remarks(self) -> list[str]:
        """What a person should know of the export, at its end."""
        return []
