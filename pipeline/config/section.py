"""Base classes of the sections of a configuration, and the types of their values."""

import re
from pathlib import PurePosixPath
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]
_NAME = r"^[a-z][a-z0-9_]*$"
_REPOSITORY = r"^[\w.-]+(/[\w.-]+)?$"
_WORD = r"^[A-Za-z0-9_]+$"

Name = Annotated[str, Field(pattern=_NAME)]
Repository = Annotated[str, Field(pattern=_REPOSITORY)]
Word = Annotated[str, Field(pattern=_WORD)]

PATTERNS = {
    _NAME: "a name of small letters, digits and _, such as my_reward",
    _REPOSITORY: "a repository of the Hugging Face hub, as in owner/name",
    _WORD: "a word of letters, digits and _, such as fp16",
}
"""Maps each pattern of a text to what it accepts, for messages."""

GuidanceScale = Annotated[float, Field(ge=0, le=100)]
NumSteps = Annotated[int, Field(ge=1, le=1000)]
"""N, number of steps from noise to image; 1000 is the number of training timesteps."""


class Section(BaseModel):
    """Settings of one concept, from the TOML file to the plan and the code that uses them.

    Frozen and checked when it is created. A configuration file may not contain unknown keys.
    """

    model_config = ConfigDict(
        frozen=True,
        # A quoted number, or 1 in place of true, is a mistake and not a value to convert.
        strict=True,
        extra="forbid",
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )

    @model_serializer(mode="wrap")
    def _with_unknown_keys(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Plans of other versions may have keys that this version does not know. They are read with
        # ``extra="allow"`` and must be written again, because they are part of the plan's id.
        return {**handler(self), **(self.__pydantic_extra__ or {})}

    def explicit(self) -> Self:
        """Return a copy in which defaults count as set, so that a plan stores them."""
        values = {
            name: value.explicit() if isinstance(value, Section) else value for name, value in self
        }
        return self.model_copy(update=values)


_COMMIT = re.compile(r"[0-9a-f]{40}")


def refuse_unpinned(hub: str | None, revision: str | None, repositories: str = "") -> None:
    """Raise ``ValueError`` unless both a repository and its commit are given, or neither.

    ``repositories`` is the prefix of the repository's address on the hub: ``datasets/`` for data
    sets, empty for models.
    """
    if (hub is None) != (revision is None):
        raise ValueError("hub and revision belong together; set both or neither")
    if revision is not None and not _COMMIT.fullmatch(revision):
        raise ValueError(
            f"revision {revision!r} is not pinned: a branch, a tag or a short hash can point to "
            "other files later. Give the 40 hexadecimal digits of a commit: "
            f"git ls-remote https://huggingface.co/{repositories}{hub}"
        )


class SourceConfig(Section):
    """Location of a model's files: ``path``, or ``hub`` with a pinned ``revision``."""

    path: str | None = None
    """Folder or file on the machines that compute."""
    hub: Repository | None = None
    """Repository of the Hugging Face hub, owner/name, in place of path."""
    revision: str | None = None
    """Commit of that repository, its 40 hexadecimal digits."""
    file: str | None = None
    """A single file of the folder or repository."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.path is not None and self.hub is not None:
            raise ValueError("set path or hub, not both: each names the place of the files")
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
