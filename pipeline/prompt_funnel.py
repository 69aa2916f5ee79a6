"""The funnel of prompts: how many were read, and what became of them."""

from typing import Any

from pydantic import Field

from pipeline.records import DropReason, Record


class SourceFunnel(Record):
    """What became of the rows of one source."""

    name: str
    rows: int
    """Rows that were read, blank ones among them."""
    dropped: dict[DropReason, int]
    """By reason, those that occur."""
    kept: int


class PromptFunnel(Record):
    """What became of all rows; decides nothing, since the prompts that are left do."""

    sources: tuple[SourceFunnel, ...]
    settings: dict[str, Any] = Field(default_factory=dict)
    """The section ``[prompts]`` without its paths."""
    block_list_sha256: str | None = None
    """Digest of the block-list; None where there is none."""
    safety_sha256: str | None = None
    """Digest of the safety filter's source; None where there is none."""
    verdicts: dict[str, int] = Field(default_factory=dict)
    """Prompts by the safety filter's verdict, ``safe`` or what it calls them."""
    dropped_sha256: str | None = None
    """Digest of the stored list of dropped prompts; None where none was dropped."""

    @property
    def rows(self) -> int:
        """Rows that were read."""
        return sum(source.rows for source in self.sources)

    @property
    def kept(self) -> int:
        """Prompts that are left."""
        return sum(source.kept for source in self.sources)

    @property
    def dropped(self) -> dict[DropReason, int]:
        """Rows that were dropped, by reason, those that occur."""
        counts = {
            reason: sum(source.dropped.get(reason, 0) for source in self.sources)
            for reason in DropReason
        }
        return {reason: count for reason, count in counts.items() if count}
