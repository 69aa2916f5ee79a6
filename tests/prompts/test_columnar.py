"""Parquet files, as several libraries write them, and damaged ones.

Arrow files, streams, and folders that the library ``datasets`` saved."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import datasets
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


def test_pattern_without_a_file_is_reported(tmp_path: Path) -> None:
    pattern = tmp_path / "part-*.parquet"
    assert error_of(pattern) == f"{pattern}: no file matches this pattern"


def test_parquet_without_the_column_names_those_it_has(tmp_path: Path) -> None:
    path = _write(tmp_path / "p.parquet", pa.array(PROMPTS), name="caption")
    assert error_of(path) == (
        f"{path}: no column 'prompt' among 'id', 'caption'; has text in 'caption'; set column"
    )


def test_parquet_column_that_holds_no_text_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path / "p.parquet", pa.array(PROMPTS))
    assert error_of(path, column="id") == (
        f"{path}: column 'id' contains int64, not text; has text in 'prompt'"
    )


@pytest.mark.parametrize("size", [0, 3, 200, -1])
def test_parquet_cut_off_is_reported(tmp_path: Path, size: int) -> None:
    path = _write(tmp_path / "p.parquet", pa.array(PROMPTS))
    path.write_bytes(path.read_bytes()[:size])
    assert error_of(path).startswith(f"{path}: not Parquet, or truncated or damaged")


def test_parquet_that_is_not_utf8_is_reported(tmp_path: Path) -> None:
    offsets, data = pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xfc!")
    values = pa.Array.from_buffers(pa.string(), 1, [None, offsets, data])
    path = _write(tmp_path / "p.parquet", values)
    assert error_of(path).startswith(f"{path}: column 'prompt' is not UTF-8")


def test_missing_file_is_reported(tmp_path: Path) -> None:
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
    assert error_of(path).startswith(f"{path}: column 'prompt' contains {kind}, not text")


def test_parquet_dictionary_with_nulls_and_a_column_with_a_dot(tmp_path: Path) -> None:
    values = pa.array(["a", None, "a"]).dictionary_encode()
    assert rows_of(_write(tmp_path / "p.parquet", values)) == ["a", "", "a"]
    path = tmp_path / "dots.parquet"
    pq.write_table(pa.table({"a": [{"b": "nested"}], "a.b": ["top"]}), path)
    assert rows_of(path, column="a.b") == ["top"]


Writer = Callable[[pa.OSFile, pa.Schema], AbstractContextManager[Any]]

NUMBERED = [f"prompt number {number}" for number in range(50)]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set in three files, and one with two splits."""
    folder = tmp_path_factory.mktemp("saved")
    made = datasets.Dataset.from_dict({"id": list(range(50)), "caption": NUMBERED})
    made.save_to_disk(folder / "one", num_shards=3)
    parts = {"train": made.select(range(40)), "test": made.select(range(40, 50))}
    datasets.DatasetDict(parts).save_to_disk(folder / "two")
    made.select(range(49, -1, -1)).filter(lambda row: row["id"] % 2 == 0).save_to_disk(
        folder / "chosen"
    )
    return folder


def test_saved_folder_is_read_as_datasets_reads_it(saved: Path) -> None:
    assert rows_of(saved / "one", column="caption") == NUMBERED
    loaded = list(datasets.load_from_disk(str(saved / "one"))["caption"])
    assert loaded == NUMBERED


def test_saved_folder_of_chosen_rows_holds_those_in_their_order(saved: Path) -> None:
    loaded = list(datasets.load_from_disk(str(saved / "chosen"))["caption"])
    assert rows_of(saved / "chosen", column="caption") == loaded == NUMBERED[48::-2]


def test_saved_folder_with_splits_reads_the_one_that_is_named(saved: Path) -> None:
    assert rows_of(saved / "two", column="caption", split="test") == NUMBERED[40:]
    assert error_of(saved / "two") == f"{saved / 'two'}: set split; has 'train', 'test'"
    assert "no split 'val'; has" in error_of(saved / "two", split="val")
    assert "remove split" in error_of(saved / "one", split="train")


def test_saved_folder_without_the_column_names_those_it_has(saved: Path) -> None:
    assert "has text in 'caption'" in error_of(saved / "one")


def test_saved_folder_that_lost_a_file_is_reported(saved: Path, tmp_path: Path) -> None:
    state = (saved / "one" / "state.json").read_text()
    (tmp_path / "state.json").write_text(state)
    assert "data-00000-of-00003.arrow: cannot be read" in error_of(tmp_path, column="caption")
    (tmp_path / "state.json").write_text("{")
    assert "state.json: not valid JSON" in error_of(tmp_path)


@pytest.mark.parametrize("write", [pa.ipc.new_file, pa.ipc.new_stream], ids=["file", "stream"])
def test_arrow_file_and_stream(
    tmp_path: Path,
    write: Writer,
) -> None:
    path = tmp_path / "p.arrow"
    table = pa.table({"prompt": NUMBERED})
    with pa.OSFile(str(path), "wb") as sink, write(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=7)
    assert rows_of(path) == NUMBERED
    assert rows_of(tmp_path / "*.arrow", limit=9) == NUMBERED[:9]
    path.write_bytes(path.read_bytes()[:300])
    assert error_of(path).startswith(f"{path}: not Arrow, or truncated or damaged")


def _stream(path: Path) -> bytes:
    table = pa.table({"prompt": NUMBERED})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=7)
    return path.read_bytes()


def test_arrow_stream_cut_off_between_batches_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.arrow"
    content = _stream(path)
    for size in range(0, len(content), 8):
        path.write_bytes(content[:size])
        assert error_of(path).startswith(f"{path}: not Arrow, or truncated or damaged"), size


def test_arrow_streams_in_one_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.arrow"
    path.write_bytes(_stream(path) * 2)
    assert "data follows the end of the stream" in error_of(path)


def test_arrow_two_columns_of_the_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.arrow"
    table = pa.table([["a"], ["b"]], names=["prompt", "prompt"])
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    assert error_of(path) == f"{path}: 2 columns have the name 'prompt'; rename all but one"


@pytest.mark.parametrize(
    "state",
    ["[]", "{}", '{"_data_files": null}', '{"_data_files": [{"file": "x"}]}', "[" * 100_000],
    ids=range(5),
)
def test_saved_folder_with_a_strange_state_is_reported(tmp_path: Path, state: str) -> None:
    (tmp_path / "state.json").write_text(state)
    assert error_of(tmp_path).startswith(f"{tmp_path / 'state.json'}: ")
    (tmp_path / "state.json").rename(tmp_path / "dataset_dict.json")
    assert error_of(tmp_path).startswith(f"{tmp_path / 'dataset_dict.json'}: ")


def test_saved_folder_with_rows_chosen_apart_is_refused(saved: Path, tmp_path: Path) -> None:
    state = json.loads((saved / "one" / "state.json").read_text())
    state["_indices_data_files"] = [{"filename": "indices.arrow"}]
    (tmp_path / "state.json").write_text(json.dumps(state))
    assert "indices" in error_of(tmp_path, column="caption")


def test_arrow_offsets_beyond_the_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.arrow"
    table = pa.table({"prompt": ["abcd", "efgh"]})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    offsets = [number.to_bytes(4, "little") for number in (0, 4, 8)]
    assert path.read_bytes().count(b"".join(offsets)) == 1
    beyond = b"".join([*offsets[:2], (2**31 - 8).to_bytes(4, "little")])
    path.write_bytes(path.read_bytes().replace(b"".join(offsets), beyond))
    assert error_of(path).startswith(f"{path}: column 'prompt' is not UTF-8, or is damaged")
