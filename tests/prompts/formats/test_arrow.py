"""Arrow files, streams, and folders that the library ``datasets`` saved."""

import json
from pathlib import Path

import datasets
import pyarrow as pa
import pytest

from tests.prompts.reading import error_of, rows_of

PROMPTS = [f"prompt number {number}" for number in range(50)]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set in three files, and one with two splits."""
    folder = tmp_path_factory.mktemp("saved")
    made = datasets.Dataset.from_dict({"id": list(range(50)), "caption": PROMPTS})
    made.save_to_disk(folder / "one", num_shards=3)
    parts = {"train": made.select(range(40)), "test": made.select(range(40, 50))}
    datasets.DatasetDict(parts).save_to_disk(folder / "two")
    made.select(range(49, -1, -1)).filter(lambda row: row["id"] % 2 == 0).save_to_disk(
        folder / "chosen"
    )
    return folder


def test_saved_folder_is_read_as_datasets_reads_it(saved: Path) -> None:
    assert rows_of(saved / "one", column="caption") == PROMPTS
    loaded = list(datasets.load_from_disk(str(saved / "one"))["caption"])
    assert loaded == PROMPTS


def test_saved_folder_of_chosen_rows_holds_those_in_their_order(saved: Path) -> None:
    loaded = list(datasets.load_from_disk(str(saved / "chosen"))["caption"])
    assert rows_of(saved / "chosen", column="caption") == loaded == PROMPTS[48::-2]


def test_saved_folder_with_splits_reads_the_one_that_is_named(saved: Path) -> None:
    assert rows_of(saved / "two", column="caption", split="test") == PROMPTS[40:]
    assert error_of(saved / "two") == f"{saved / 'two'}: set split; has 'train', 'test'"
    assert "no split 'val'; has" in error_of(saved / "two", split="val")
    assert "leave split out" in error_of(saved / "one", split="train")


def test_saved_folder_without_the_column_names_those_it_has(saved: Path) -> None:
    assert "has text in 'caption'" in error_of(saved / "one")


def test_saved_folder_that_lost_a_file_is_said(saved: Path, tmp_path: Path) -> None:
    state = (saved / "one" / "state.json").read_text()
    (tmp_path / "state.json").write_text(state)
    assert "data-00000-of-00003.arrow: not Arrow" in error_of(tmp_path, column="caption")
    (tmp_path / "state.json").write_text("{")
    assert "state.json: cannot be read as JSON" in error_of(tmp_path)


@pytest.mark.parametrize("write", [pa.ipc.new_file, pa.ipc.new_stream], ids=["file", "stream"])
def test_arrow_file_and_stream(tmp_path: Path, write: object) -> None:
    path = tmp_path / "p.arrow"
    table = pa.table({"prompt": PROMPTS})
    with pa.OSFile(str(path), "wb") as sink, write(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=7)
    assert rows_of(path) == PROMPTS
    assert rows_of(tmp_path / "*.arrow", limit=9) == PROMPTS[:9]
    path.write_bytes(path.read_bytes()[:300])
    assert error_of(path).startswith(f"{path}: not Arrow, cut off or damaged")


def _stream(path: Path) -> bytes:
    table = pa.table({"prompt": PROMPTS})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=7)
    return path.read_bytes()


def test_arrow_stream_cut_off_between_batches_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.arrow"
    content = _stream(path)
    for size in range(0, len(content), 8):
        path.write_bytes(content[:size])
        assert error_of(path).startswith(f"{path}: not Arrow, cut off or damaged"), size


def test_arrow_streams_in_one_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.arrow"
    path.write_bytes(_stream(path) * 2)
    assert "more follows the end of its stream" in error_of(path)


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
def test_saved_folder_with_a_strange_state_is_said(tmp_path: Path, state: str) -> None:
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
