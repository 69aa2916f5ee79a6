"""Sources read and prompts made, as tests do it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.prompts import PromptSourceConfig
from pipeline.core.errors import PromptFileError
from pipeline.prompts.prompt import SourcePrompt
from pipeline.prompts.sources import read_source


def rows_of(path: Path, **options: Any) -> list[str]:
    source = PromptSourceConfig(name="s", path=str(path), **options)
    return [row.text for row in read_source(source)]


def error_of(path: Path, **options: Any) -> str:
    with pytest.raises(PromptFileError) as caught:
        rows_of(path, **options)
    return str(caught.value)


def prompts_of(texts: Sequence[str], source: str = "s") -> list[SourcePrompt]:
    return [SourcePrompt(text, source, row) for row, text in enumerate(texts)]
