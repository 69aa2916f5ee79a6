"""CSV and TSV with a header, and the prompt in one of the columns."""

import csv
from collections.abc import Iterator
from pathlib import Path

from pipeline.config.prompts import PromptSourceConfig
from pipeline.errors import PromptFileError
from pipeline.prompts.formats.lines import utf8_lines


def read_csv(path: Path, source: PromptSourceConfig) -> Iterator[str | None]:
    """A row a record. Raises ``PromptFileError`` with the line."""
    return _rows(path, source.column, ",")


def read_tsv(path: Path, source: PromptSourceConfig) -> Iterator[str | None]:
    """A row a record. Raises ``PromptFileError`` with the line."""
    return _rows(path, source.column, "\t")


def _rows(path: Path, column: str, delimiter: str) -> Iterator[str | None]:
    rows = csv.DictReader(utf8_lines(path), strict=True, delimiter=delimiter)
    try:
        header = rows.fieldnames  # reads the first line
        if header is None:
            raise PromptFileError(f"{path}: empty; a CSV header was expected")
        if column not in header:
            raise PromptFileError(
                f"{path}:1: no column {column!r}; has {', '.join(map(repr, header))}; set column"
            )
        for row in rows:
            if None in row.values() or None in row:
                raise PromptFileError(
                    f"{path}:{rows.line_num}: the row has not the {len(header)} fields "
                    "of the header; quote prompts that hold commas"
                )
            yield row[column]
    except csv.Error as error:
        # line_num is where the row before ended; a quote left open makes all that follows one row.
        raise PromptFileError(f"{path}:{rows.line_num + 1}: malformed CSV: {error}") from None
