"""Records of CSV as RFC 4180 has it: a field in quotes may hold delimiters, quotes and line breaks.

The standard library's reader limits the size of fields for the entire process, and does not report
where a quote that is never closed was opened.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline.errors import PromptFileError
from pipeline.prompts.formats import lines as text_lines
from pipeline.prompts.formats.lines import bare_line

QUOTE = '"'

# What stands in quotes: anything but a quote, or two of them for one.
_INSIDE = re.compile(r'[^"]*(?:""[^"]*)*')


def csv_records(
    path: Path, lines: Iterable[str], delimiter: str
) -> Iterator[tuple[int, list[str]]]:
    """Yield each record's fields and the number of the line on which it begins, from 1.

    ``lines`` have their ends. An empty line is a record of one empty field. A quote within a field
    that does not begin with one is a letter. Raises ``PromptFileError`` with the line on which a
    field that is malformed or never closed begins.
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
    """A record that is read line by line."""

    def __init__(self, path: Path, start: int, delimiter: str) -> None:
        self.start = start
        self.fields: list[str] = []
        self._path = path
        self._delimiter = delimiter
        self._in_quotes: list[str] | None = None
        self._opened = start
        self._size = 0

    def ends_with(self, number: int, line: str) -> bool:
        """Read one more line; return True if the record ends with it."""
        self._size += len(line)
        if self._size > text_lines.LONGEST:
            raise self._malformed(f"the quoted field that begins here holds {self._size:,} letters")
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
                    f"the quoted field that begins here is closed on line {number}, and more than "
                    f"a delimiter follows: {line[position:end][:20]!r}"
                )
            position += 1

    def never_closed(self) -> PromptFileError:
        """Return the error for a quote that opens a field and is not closed."""
        return self._malformed("the quoted field that begins here is never closed")

    def _read_bare(self, number: int, line: str, position: int, end: int) -> int:
        stop = line.find(self._delimiter, position, end)
        stop = end if stop < 0 else stop
        self.fields.append(bare_line(self._path, number, line[position:stop]))
        return stop

    def _malformed(self, detail: str) -> PromptFileError:
        return PromptFileError(
            f"{self._path}:{self._opened}: malformed CSV: {detail}; double the quotes within a "
            'quoted field, or set quotes = "none" in [[prompts.sources]] if quotes are letters'
        )
