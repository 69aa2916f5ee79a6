"""Location of a model's files: on this machine, or in a repository of the Hugging Face hub."""

from pathlib import PurePosixPath
from typing import Annotated, Self

from pydantic import Field, model_validator

from pipeline.config.pinned_revision import refuse_unpinned
from pipeline.config.section import Section


class SourceConfig(Section):
    """Location of a model's files: ``path``, or ``hub`` with a pinned ``revision``."""

    path: str | None = None
    """Folder or file on the machines that compute."""
    hub: Annotated[str, Field(pattern=r"^[\w.-]+(/[\w.-]+)?$")] | None = None
    """Repository of the Hugging Face hub, owner/name, in place of path."""
    revision: str | None = None
    """Commit of that repository, its 40 hexadecimal digits."""
    file: str | None = None
    """A single file of the folder or repository."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.path is not None and self.hub is not None:
            raise ValueError("set path or hub, not both: each says where the files are")
        refuse_unpinned(self.hub, self.revision)
        if self.file is not None:
            _refuse_outside(self.file)
            if not self.has_place:
                raise ValueError("file needs path or hub, in which it lies")
        return self

    @property
    def has_place(self) -> bool:
        """Return True if ``path`` or ``hub`` is set."""
        return self.path is not None or self.hub is not None

    def require(self, what: str) -> None:
        """Raise ``ValueError`` if neither ``path`` nor ``hub`` is set."""
        if not self.has_place:
            raise ValueError(f"{what} needs path, or hub with revision, to find its files")

    def __str__(self) -> str:
        place = self.path if self.hub is None else f"{self.hub}@{self.revision}"
        return str(place) if self.file is None else f"{place}/{self.file}"


def _refuse_outside(file: str) -> None:
    path = PurePosixPath(file)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError(f"file {file!r} must lie in the folder or repository itself")
