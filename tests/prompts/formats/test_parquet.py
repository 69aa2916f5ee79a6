"""Parquet files, as several libraries write them, and damaged ones."""

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.prompts.reading import error_of, rows_of

PROMPTS = ["a red ring", "二つの円", "ein Quadrat"]


def _write(path: Path, values: pa.Array, name: str = "prompt") -> Path:
    pq.write_table(pa.table({"id": range(len(values)), name: values}), path, row_group_size=2)
    return path


@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())],
    ids=str,
)
def test_parquet_every_type_of_text(tmp_path: Path, kind: pa.DataType) -> None:
    assert rows_of(_write(tmp_path / "p.parquet", pa.array(PROMPTS).cast(kind))) == PROMPTS


def test_parquet_of_another_writer(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    duckdb.sql(f"copy (select 'prompt ' || range as text from range(5000)) to '{path}'")
    assert rows_of(path, column="text") == [f"prompt {number}" for number in range(5000)]


def test_parquet_null_is_a_row_without_a_prompt(tmp_path: Path) -> None:
    assert rows_of(_write(tmp_path / "p.parquet", pa.array(["a", None, "b"]))) == ["a", "", "b"]


def test_pattern_reads_its_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    for number, prompt in enumerate(PROMPTS):
        _write(tmp_path / f"part-{number}.parquet", pa.array([prompt]))
    (tmp_path / "part-9.txt").write_text("not one of them")
    assert rows_of(tmp_path / "part-*.parquet") == PROMPTS


def test_pattern_without_a_file_is_said(tmp_path: Path) -> None:
    pattern = tmp_path / "part-*.parquet"
    assert error_of(pattern) == f"{pattern}: no file is so named"


def test_parquet_without_the_column_names_those_it_has(tmp_path: Path) -> None:
    path = _write(tmp_path / "p.parquet", pa.array(PROMPTS), name="caption")
    assert error_of(path) == (
        f"{path}: no column 'prompt' among 'id', 'caption'; has text in 'caption'; set column"
    )


def test_parquet_column_that_holds_no_text_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path / "p.parquet", pa.array(PROMPTS))
    assert error_of(path, column="id") == (
        f"{path}: column 'id' holds int64, not text; has text in 'prompt'"
    )


@pytest.mark.parametrize("size", [0, 3, 200, -1])
def test_parquet_cut_off_is_said(tmp_path: Path, size: int) -> None:
    path = _write(tmp_path / "p.parquet", pa.array(PROMPTS))
    path.write_bytes(path.read_bytes()[:size])
    assert error_of(path).startswith(f"{path}: not Parquet, cut off or damaged")


def test_parquet_that_is_not_utf8_is_said(tmp_path: Path) -> None:
    offsets, data = pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xfc!")
    values = pa.Array.from_buffers(pa.string(), 1, [None, offsets, data])
    path = _write(tmp_path / "p.parquet", values)
    assert error_of(path).startswith(f"{path}: column 'prompt' is not UTF-8")


def test_missing_file_is_said(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    assert error_of(path) == f"{path}: no such prompt file"


def test_parquet_two_columns_of_the_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    pq.write_table(pa.table([["a"], ["b"]], names=["prompt", "prompt"]), path)
    assert error_of(path) == f"{path}: 2 columns have the name 'prompt'; rename all but one"


def test_parquet_column_of_nulls_alone_is_rows_without_a_prompt(tmp_path: Path) -> None:
    _write(tmp_path / "a.parquet", pa.array(["a", "b"]))
    _write(tmp_path / "b.parquet", pa.array([None, None]))
    assert rows_of(tmp_path / "*.parquet") == ["a", "b", "", ""]


def test_parquet_file_of_a_pattern_without_the_column_is_named(tmp_path: Path) -> None:
    _write(tmp_path / "a.parquet", pa.array(["a"]))
    other = _write(tmp_path / "b.parquet", pa.array(["b"]), name="text")
    assert error_of(tmp_path / "*.parquet").startswith(f"{other}: no column 'prompt'")


@pytest.mark.parametrize(
    "values",
    [pa.array([b"a"]), pa.array([["a"]]), pa.array([{"text": "a"}]), pa.array([1.0])],
    ids=lambda values: str(values.type),
)
def test_parquet_other_types_are_refused_by_name(tmp_path: Path, values: pa.Array) -> None:
    path = _write(tmp_path / "p.parquet", values)
    kind = pq.read_schema(path).field("prompt").type
    assert error_of(path).startswith(f"{path}: column 'prompt' holds {kind}, not text")


def test_parquet_dictionary_with_nulls_and_a_column_with_a_dot(tmp_path: Path) -> None:
    values = pa.array(["a", None, "a"]).dictionary_encode()
    assert rows_of(_write(tmp_path / "p.parquet", values)) == ["a", "", "a"]
    path = tmp_path / "dots.parquet"
    pq.write_table(pa.table({"a": [{"b": "nested"}], "a.b": ["top"]}), path)
    assert rows_of(path, column="a.b") == ["top"]
