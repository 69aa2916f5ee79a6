"""CSV and TSV files with a header and the prompt in one of the columns.

CSV follows RFC 4180: a quoted field may contain delimiters, quotes and line breaks. It is parsed
here because the reader of the standard library limits the size of fields for the complete process,
and does not report where an unclosed quote was opened. TSV has no quoting (IANA,
text/tab-separated-values): each line is a row, and quotes are ordinary characters.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline.config.prompts import PromptSourceConfig, Quotes
from pipeline.core.errors import PromptFileError
from pipeline.prompts import limits
from pipeline.prompts.columnar import check_unique
from pipeline.prompts.text_file import bare_line, lines_with_ends, utf8_lines

QUOTE = '"'

# Text within quotes: any characters but quotes, which are doubled.
_INSIDE = re.compile(r'[^"]*(?:""[^"]*)*')


def csv_records(
    path: Path, lines: Iterable[str], delimiter: str
) -> Iterator[tuple[int, list[str]]]:
    """Yield for each record the number of its first line, from 1, and its fields.

    ``lines`` include their ends. An empty line is a record with one empty field. A quote is an
    ordinary character in a field that does not begin with one. Raise ``PromptFileError`` with the
    first line of a field that is malformed or not closed.
    """
    record: _Record | None = None
    for number, line in enumerate(lines, start=1):
        if record is None:
            if QUOTE not in line:
                yield number, bare_line(path, number, line).split(delimiter)
                continue
            record = _Record(path, number, delimiter)
        if record.ends_with(number, line):
            yield record.start, record.fields
            record = None
    if record is not None:
        raise record.never_closed()


class _Record:
    """A record that is parsed line by line."""

    def __init__(self, path: Path, start: int, delimiter: str) -> None:
        self.start = start
        self.fields: list[str] = []
        self._path = path
        self._delimiter = delimiter
        self._in_quotes: list[str] | None = None
        self._opened = start
        self._size = 0

    def ends_with(self, number: int, line: str) -> bool:
        """Parse one more line. Return True if the record ends with it."""
        self._size += len(line)
        if self._size > limits.LONGEST:
            raise self._malformed(
                f"the quoted field that begins here has {self._size:,} characters"
            )
        end = len(line.rstrip("\r\n"))
        position = 0
        while True:
            if self._in_quotes is None and line.startswith(QUOTE, position):
                self._in_quotes, self._opened = [], number
                position += 1
            if self._in_quotes is None:
                position = self._read_bare(number, line, position, end)
            else:
                inside = _INSIDE.match(line, position)
                assert inside is not None, "the pattern matches an empty text"
                self._in_quotes.append(inside.group())
                position = inside.end()
                if position == len(line):
                    return False
                self.fields.append("".join(self._in_quotes).replace(QUOTE * 2, QUOTE))
                self._in_quotes = None
                position += 1
            if position == end:
                return True
            if not line.startswith(self._delimiter, position):
                raise self._malformed(
                    f"the quoted field that begins here is closed on line {number} and not "
                    f"followed by a delimiter: {line[position:end][:20]!r}"
                )
            position += 1

    def never_closed(self) -> PromptFileError:
        """Return the error for a quoted field that is not closed."""
        return self._malformed("the quoted field that begins here is never closed")

    def _read_bare(self, number: int, line: str, position: int, end: int) -> int:
        stop = line.find(self._delimiter, position, end)
        stop = end if stop < 0 else stop
        self.fields.append(bare_line(self._path, number, line[position:stop]))
        return stop

    def _malformed(self, detail: str) -> PromptFileError:
        return PromptFileError(
            f"{self._path}:{self._opened}: malformed CSV: {detail}; double the quotes within a "
            'quoted field, or set quotes = "none" in [[prompts.sources]] to read quotes as text'
        )


# A quoted text with doubled quotes in it, which is CSV and not a plausible prompt.
_DOUBLED = re.compile(r'"[^"]*(?:""[^"]*)+"')

Row = dict[str, str]


def read_csv(path: Path, source: PromptSourceConfig) -> Iterator[str | None]:
    """Yield the prompt of each row. Raise ``PromptFileError`` with the line."""
    return _prompts(path, source.column, ",", source.quotes or "csv")


def read_tsv(path: Path, source: PromptSourceConfig) -> Iterator[str | None]:
    """Yield the prompt of each row. Raise ``PromptFileError`` with the line."""
    prompts = _prompts(path, source.column, "\t", source.quotes or "none")
    return prompts if source.quotes else _refuse_doubled(path, prompts)


def table_rows(
    path: Path, columns: tuple[str, ...], delimiter: str, quotes: Quotes
) -> Iterator[Row | None]:
    """Yield each row as a dictionary of its columns, or None for an empty line.

    Raise ``PromptFileError`` with the line, also if one of ``columns`` is missing or repeated.
    """
    records = _records(path, delimiter, quotes)
    _, header = next(records, (1, None))
    if header is None:
        raise PromptFileError(f"{path}: the file is empty; a header was expected")
    for column in columns:
        _check_header(f"{path}:1", header, column)
    for number, fields in records:
        if fields == [""] and len(header) > 1:
            yield None
        elif len(fields) == len(header):
            yield dict(zip(header, fields, strict=True))
        else:
            raise PromptFileError(
                f"{path}:{number}: the row has {len(fields)} fields, and the header has "
                f"{len(header)}; {_advice(delimiter, quotes)}"
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
            f"{where}: no column {column!r}; has {limits.listed(header)}; {advice}"
        )
    check_unique(header, column, where)


def _refuse_doubled(path: Path, prompts: Iterator[str | None]) -> Iterator[str | None]:
    for number, prompt in enumerate(prompts, start=2):
        if prompt is not None and _DOUBLED.fullmatch(prompt):
            raise PromptFileError(
                f"{path}:{number}: {prompt[:60]!r} is quoted as in CSV; set quotes in "
                '[[prompts.sources]] to "csv" if it is CSV, or to "none" to keep its quotes'
            )
        yield prompt


def _advice(delimiter: str, quotes: Quotes) -> str:
    if quotes == "csv":
        return "quote fields that contain the delimiter"
    name = "tab" if delimiter == "\t" else "comma"
    return f'a field can contain a {name} only if it is quoted, which needs quotes = "csv"'
