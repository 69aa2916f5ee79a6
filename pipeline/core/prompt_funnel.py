"""Funnel of prompts: numbers of rows that were read, dropped and kept."""

from typing import Any

from pydantic import Field

from pipeline.core.records import DropReason, Record


class SourceFunnel(Record):
    """Counts of the rows of one source."""

    name: str
    rows: int
    """Number of rows that were read, blank ones included."""
    dropped: dict[DropReason, int]
    """Maps each reason that occurs to its number of rows."""
    kept: int


class PromptFunnel(Record):
    """Counts of all rows. They are not part of a plan's identity, because the kept prompts are."""

    sources: tuple[SourceFunnel, ...]
    settings: dict[str, Any] = Field(default_factory=dict)
    """The section ``[prompts]`` without its paths."""
    block_list_sha256: str | None = None
    """Digest of the block list, or None without one."""
    safety_sha256: str | None = None
    """Digest of the safety filter's code, or None without one."""
    verdicts: dict[str, int] = Field(default_factory=dict)
    """Maps each verdict of the safety filter, such as ``safe``, to its number of prompts."""
    dropped_sha256: str | None = None
    """Digest of the stored list of dropped prompts, or None if none was dropped."""

    @property
    def rows(self) -> int:
        """Number of rows that were read."""
        return sum(source.rows for source in self.sources)

    @property
    def kept(self) -> int:
        """Number of prompts that were kept."""
        return sum(source.kept for source in self.sources)

    @property
    def dropped(self) -> dict[DropReason, int]:
        """Maps each reason that occurs to the number of rows that it dropped."""
        counts = {
            reason: sum(source.dropped.get(reason, 0) for source in self.sources)
            for reason in DropReason
        }
        return {reason: count for reason, count in counts.items() if count}
