"""Text: a line a prompt."""

from collections.abc import Iterator
from pathlib import Path

from pipeline.config.prompts import PromptSourceConfig
from pipeline.prompts.formats.lines import utf8_lines


def read_text(path: Path, source: PromptSourceConfig) -> Iterator[str | None]:
    """A row a line. Raises ``PromptFileError``."""
    return utf8_lines(path)
