"""CSV and TSV with a header, and the prompt in one of the columns.

TSV has no quotes (IANA, text/tab-separated-values): a line is a row, and a quote is a letter.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from pipeline.config.prompts import PromptSourceConfig, Quotes
from pipeline.errors import PromptFileError
from pipeline.prompts.formats.columns import refuse_repeated
from pipeline.prompts.formats.csv_records import QUOTE, csv_records
from pipeline.prompts.formats.lines import lines_with_ends, utf8_lines

# Two quotes in place of each within a pair of them: nobody writes a prompt so.
_DOUBLED = re.compile(r'"[^"]*(?:""[^"]*)+"')

Row = dict[str, str]


def read_csv(path: Path, source: PromptSourceConfig) -> Iterator[str | None]:
    """Yield the prompt of each row. Raises ``PromptFileError`` with the line."""
    return _prompts(path, source.column, ",", source.quotes or "csv")


def read_tsv(path: Path, source: PromptSourceConfig) -> Iterator[str | None]:
    """Yield the prompt of each row. Raises ``PromptFileError`` with the line."""
    prompts = _prompts(path, source.column, "\t", source.quotes or "none")
    return prompts if source.quotes else _refuse_doubled(path, prompts)


def table_rows(
    path: Path, columns: tuple[str, ...], delimiter: str, quotes: Quotes
) -> Iterator[Row | None]:
    """Yield each row by its columns; None for an empty line.

    Raises ``PromptFileError`` with the line, also where one of ``columns`` is missing or repeated.
    """
    records = _records(path, delimiter, quotes)
    _, header = next(records, (1, None))
    if header is None:
        raise PromptFileError(f"{path}: empty; a CSV header was expected")
    for column in columns:
        _check_header(f"{path}:1", header, column)
    for number, fields in records:
        if fields == [""] and len(header) > 1:
            yield None
        elif len(fields) == len(header):
            yield dict(zip(header, fields, strict=True))
        else:
            raise PromptFileError(
                f"{path}:{number}: the row has not the {len(header)} fields of the header; "
                f"it has {len(fields)}; {_advice(delimiter, quotes)}"
            )


def _prompts(path: Path, column: str, delimiter: str, quotes: Quotes) -> Iterator[str | None]:
    for row in table_rows(path, (column,), delimiter, quotes):
        yield None if row is None else row[column]


def _records(path: Path, delimiter: str, quotes: Quotes) -> Iterator[tuple[int, list[str]]]:
    if quotes == "csv":
        return csv_records(path, lines_with_ends(path), delimiter)
    return ((n, line.split(delimiter)) for n, line in enumerate(utf8_lines(path), start=1))


def _check_header(where: str, header: list[str], column: str) -> None:
    if column not in header:
        quoted = f"{QUOTE}{column}{QUOTE}" in header
        advice = 'set quotes = "csv" in [[prompts.sources]]' if quoted else "set column"
        raise PromptFileError(
            f"{where}: no column {column!r}; has {', '.join(map(repr, header))}; {advice}"
        )
    refuse_repeated(header, column, where)


def _refuse_doubled(path: Path, prompts: Iterator[str | None]) -> Iterator[str | None]:
    for number, prompt in enumerate(prompts, start=2):
        if prompt is not None and _DOUBLED.fullmatch(prompt):
            raise PromptFileError(
                f"{path}:{number}: {prompt[:60]!r} is quoted as in CSV; set quotes in "
                '[[prompts.sources]] to "csv" if it is, and to "none" if its quotes are letters'
            )
        yield prompt


def _advice(delimiter: str, quotes: Quotes) -> str:
    if quotes == "csv":
        return "quote fields that hold the delimiter"
    name = "tab" if delimiter == "\t" else "comma"
    return f'a field holds no {name} unless it is quoted, which needs quotes = "csv"'
