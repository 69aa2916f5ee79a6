"""CSV as RFC 4180 has it, against the standard library's reader; TSV without quotes."""

import csv
import io
from pathlib import Path
from typing import Literal

import pyarrow.csv
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.prompts.csv_table import csv_records
from tests.prompts.reading import error_of, rows_of

# No carriage return: the standard library reads it as a line end everywhere.
_FIELDS = st.text(st.sampled_from('a"b,\t\n \u2028\x0bü'), max_size=6)
_TABLES = st.lists(st.lists(_FIELDS, min_size=2, max_size=3), min_size=1, max_size=4)


@given(_TABLES, st.sampled_from(",\t"), st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
def test_records_are_those_that_were_written(
    table: list[list[str]], delimiter: str, quoting: Literal[0, 1]
) -> None:
    written = io.StringIO()
    csv.writer(written, delimiter=delimiter, quoting=quoting).writerows(table)
    lines = written.getvalue().encode().splitlines(keepends=True)
    records = list(csv_records(Path("t"), (line.decode() for line in lines), delimiter))
    assert [fields for _, fields in records] == table
    starts = [1]
    for row in table[:-1]:
        starts.append(starts[-1] + 1 + sum(field.count("\n") for field in row))
    assert [number for number, _ in records] == starts


def test_csv_is_read_as_pyarrow_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_bytes(b'id,prompt\r\n1,5" tall\r\n2,"a\r\nb"\r\n3,"a ""b"", c"\r\n4,\r\n')
    table = pyarrow.csv.read_csv(
        path, parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True)
    )
    assert rows_of(path) == [" ".join(p.split()) for p in table["prompt"].to_pylist()]
    assert rows_of(path) == ['5" tall', "a b", 'a "b", c', ""]


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        ('prompt\na\n"a cat\na dog\na bird\n', 3, "malformed CSV: the quoted field that begins"),
        ('id,prompt\n1,"a\nb"\n"2\n","open\nc,d\n', 5, "malformed CSV: the quoted field that"),
        ('id,prompt\n1,"a cat\n2,a "dog"\n3,b\n', 2, "malformed CSV: the quoted field that begins"),
    ],
)
def test_csv_unbalanced_quote_names_the_line_on_which_it_opens(
    tmp_path: Path, content: str, line: int, message: str
) -> None:
    path = tmp_path / "p.csv"
    path.write_text(content)
    assert error_of(path).startswith(f"{path}:{line}: {message}")


def test_csv_large_field_beside_the_prompt_and_large_prompt_are_read(tmp_path: Path) -> None:
    large = "x" * 200_000
    path = tmp_path / "p.csv"
    path.write_text(f'page,prompt\n{large},a\n"{large}\n",b\nc,{large}\n')
    assert rows_of(path) == ["a", "b", large]


def test_csv_blank_line_is_a_row_without_a_prompt(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text('prompt,id\na,1\n\n"",2\nb,3\n')
    assert rows_of(path) == ["a", "", "", "b"]
    path.write_text("prompt\na\n\nb\n")
    assert rows_of(path) == ["a", "", "b"]


@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_table_with_two_columns_of_the_name_is_refused(tmp_path: Path, delimiter: str) -> None:
    path = tmp_path / ("p.csv" if delimiter == "," else "p.tsv")
    path.write_text("prompt,id,prompt\na,1,b\n".replace(",", delimiter))
    assert error_of(path) == f"{path}:1: 2 columns have the name 'prompt'; rename all but one"


def test_csv_without_quotes_reads_them_as_letters(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text('prompt\n"a cat\na dog\na bird"\n')
    assert rows_of(path, quotes="none") == ['"a cat', "a dog", 'a bird"']


def test_tsv_quotes_are_letters(tmp_path: Path) -> None:
    path = tmp_path / "p.tsv"
    path.write_text('prompt\tid\n"a cat\t1\na dog\t2\n"a" bird"\t3\n"a sign"\t4\n')
    assert rows_of(path) == ['"a cat', "a dog", '"a" bird"', '"a sign"']


def test_tsv_quoted_as_csv_is_read_where_that_is_set(tmp_path: Path) -> None:
    path = tmp_path / "p.tsv"
    prompts = ["a red ring", 'a "quoted", comma', "two\tparts", "a\nb"]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter="\t").writerows([("prompt", "id"), *((p, 1) for p in prompts)])
    assert rows_of(path, quotes="csv") == [" ".join(p.split()) for p in prompts]
    assert error_of(path).startswith(f'{path}:3: \'"a ""quoted"", comma"\' is quoted as in CSV')
    path.write_text('"prompt"\t"id"\n"a"\t"1"\n')
    assert error_of(path).startswith(f"{path}:1: no column 'prompt'") and "quotes" in error_of(path)


def test_tsv_row_with_another_number_of_fields_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.tsv"
    path.write_text("prompt\tid\na\t1\nb\n")
    assert error_of(path).startswith(f"{path}:3: the row has 1 fields, and the header has 2")
