"""Parquet: the prompt is in one of the columns; the others are not read."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config.prompts import PromptSourceConfig
from pipeline.errors import PromptFileError
from pipeline.prompts.formats.columns import ROWS_AT_ONCE, check_column, texts_of


def read_parquet(path: Path, source: PromptSourceConfig) -> Iterator[str | None]:
    """A row a row; null is no prompt. Raises ``PromptFileError``."""
    try:
        with pq.ParquetFile(path) as file:
            check_column(file.schema_arrow, source.column, str(path))
            for batch in file.iter_batches(ROWS_AT_ONCE, columns=[source.column]):
                yield from texts_of(batch, source.column, str(path))
    except (pa.ArrowException, OSError) as error:
        raise PromptFileError(f"{path}: not Parquet, cut off or damaged: {error}") from error
