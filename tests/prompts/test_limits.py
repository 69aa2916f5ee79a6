"""Prompt files that take far more memory than their size, and files of other folders."""

import gzip
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.prompts import limits, text_file, webdataset
from tests.prompts.reading import error_of, rows_of

LONG = "a" * 3_000_000
LINE = b"a red cube on a blue ball\n"


def zstd(path: Path, data: bytes) -> None:
    with pa.output_stream(str(path), compression="zstd") as file:
        file.write(data)


def parquet(path: Path, texts: pa.Array) -> None:
    pq.write_table(pa.table({"prompt": texts}), path, compression="zstd")


def arrow(path: Path, texts: pa.Array, compression: str | None = None) -> None:
    options = pa.ipc.IpcWriteOptions(compression=compression)
    table = pa.table({"prompt": texts})
    with pa.ipc.new_file(str(path), table.schema, options=options) as file:
        file.write_table(table)


def stream(path: Path, texts: pa.Array) -> None:
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    table = pa.table({"prompt": texts})
    with pa.ipc.new_stream(str(path), table.schema, options=options) as file:
        file.write_table(table)


def repeated(rows: int) -> pa.Array:
    indices = pa.array([0] * rows, pa.int32())
    return pa.DictionaryArray.from_arrays(indices, pa.array([LONG]))


def views(rows: int) -> pa.Array:
    view = len(LONG).to_bytes(4, "little") + LONG[:4].encode() + bytes(8)
    buffers = [None, pa.py_buffer(view * rows), pa.py_buffer(LONG.encode())]
    return pa.Array.from_buffers(pa.string_view(), rows, buffers)


def tar(path: Path, size: int) -> None:
    data = b"\0" * size
    with gzip.open(path, "wb") as packed, tarfile.open(fileobj=packed, mode="w") as archive:
        for name in ("0.jpg", "0.txt"):
            member = tarfile.TarInfo(name)
            member.size = size
            archive.addfile(member, io.BytesIO(data))


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("p.txt.gz", lambda path: path.write_bytes(gzip.compress(LINE * 200_000))),
        (
            "p.jsonl.gz",
            lambda path: path.write_bytes(gzip.compress(b'{"prompt": "a red cube"}\n' * 200_000)),
        ),
        ("p.txt.zst", lambda path: zstd(path, LINE * 200_000)),
        ("p.parquet", lambda path: parquet(path, pa.array([LONG, LONG]))),
        ("p.parquet", lambda path: parquet(path, repeated(1000))),
        ("p.arrow", lambda path: arrow(path, pa.array([LONG, LONG]), "zstd")),
        ("p.arrow", lambda path: stream(path, pa.array([LONG, LONG]))),
        ("p.arrow", lambda path: arrow(path, repeated(1000))),
        ("p.arrow", lambda path: arrow(path, views(1000))),
        ("p.tar.gz", lambda path: tar(path, 3_000_000)),
    ],
)
def test_a_file_that_expands_too_much_is_refused_before_it_takes_memory(
    name: str,
    write: Callable[[Path], object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "FREE_BYTES", 1_000_000)
    path = tmp_path / name
    write(path)
    limit = 1_000_000 + 100 * path.stat().st_size
    assert error_of(path) == (
        f"{path}: expands to more than {limit:,} bytes (1,000,000, and 100 times its size); unpack "
        "it first if you trust it, or write it again without repeated texts"
    )


def test_a_page_that_claims_another_size_than_the_metadata_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    parquet(path, pa.array(["a red cube", "a blue ball"]))
    data = bytearray(path.read_bytes())
    # The first page starts after the magic bytes; its second field is its size, one byte here.
    assert data[4] == 0x15 and data[6] == 0x15
    data[7:8] = b"\xfe\xff\xff\xff\x0f"
    path.write_bytes(data)
    assert "p.parquet: expands to more than" in error_of(path)


@pytest.mark.parametrize("text", ["\n", "a\n", "a\nb\n"])
def test_many_rows_without_text_are_refused(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "FREE_ROWS", 1000)
    path = tmp_path / "p.txt"
    path.write_text("a red cube\n" + text * 2000)
    assert "more than 1,000 rows, with less than 8 characters" in error_of(path)
    path.write_text("a red cube\n" * 2000)
    assert len(rows_of(path)) == 2000


def test_a_prompt_longer_than_any_text_encoder_reads_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.txt"
    path.write_text("a red cube\n" + "a" * 1_000_001)
    assert error_of(path).endswith("row 1 has 1,000,001 characters; a prompt has at most 1,000,000")


def test_names_in_errors_are_the_first_ones(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("a," * 5_000_000)
    assert len(error_of(path)) < 1000
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps(dict.fromkeys(map(str, range(100_000)))))
    assert len(error_of(path)) < 1000


def test_tar_with_a_large_header_many_members_or_a_link_to_itself_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "p.tar"
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 2**33
    path.write_bytes(header.tobuf(tarfile.GNU_FORMAT))
    os.truncate(path, 2**33 + 2**20)  # without data on the disk
    assert "p.tar: has a header of 8,589,934,592 bytes" in error_of(path)
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo("0.txt")
        member.type, member.linkname = tarfile.LNKTYPE, "0.txt"
        archive.addfile(member)
    assert "p.tar: " in error_of(path)
    monkeypatch.setattr(webdataset, "MOST_MEMBERS", 10)
    with tarfile.open(path, "w") as archive:
        for number in range(11):
            archive.addfile(tarfile.TarInfo(f"{number}.txt"))
    assert "p.tar: has more than 10 members" in error_of(path)


def test_files_outside_of_a_folder_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "private.txt").write_text("private")
    folder = tmp_path / "prompts"
    folder.mkdir()
    (folder / "0.txt").write_text("a red cube")
    (folder / "1.txt").symlink_to("../private.txt")
    assert "1.txt: a link to" in error_of(folder / "*.txt")
    (folder / "1.txt").unlink()
    os.mkfifo(folder / "1.txt")
    assert "1.txt: a broken link, or not a regular file" in error_of(folder / "*.txt")
    state = {"_data_files": [{"filename": "../private.arrow"}]}
    (folder / "state.json").write_text(json.dumps(state))
    assert "private.arrow is not a file of this folder" in error_of(folder)
    (folder / "state.json").write_text("[" * 100_000)
    assert "state.json: not valid JSON: nested too deeply" in error_of(folder)


def test_a_pipe_is_read_and_one_without_a_writer_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_file, "PIPE_WAIT_S", 0.1)
    for name in ("p.txt", "p.tar", "p.parquet", "p.arrow"):
        os.mkfifo(tmp_path / name)
        assert f"{name}: " in error_of(tmp_path / name)
    reader, writer = os.pipe()
    os.write(writer, b"a red cube\n")
    os.close(writer)
    assert rows_of(Path(f"/dev/fd/{reader}"), format="text") == ["a red cube"]
    os.close(reader)
