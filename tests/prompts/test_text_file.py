"""Text files compressed by gzip and zstd: complete, in parts, truncated, with a wrong suffix."""

import gzip
import json
import zlib
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.prompts import text_file
from tests.prompts.reading import error_of, rows_of

PROMPTS = [f"prompt number {number}, 二つの円" for number in range(300)]
CONTENTS = {
    ".txt": "\n".join(PROMPTS),
    ".jsonl": "\n".join(json.dumps({"prompt": prompt}) for prompt in PROMPTS),
    ".json": "\n".join(json.dumps({"prompt": prompt}) for prompt in PROMPTS),
    ".csv": "\n".join(["id,prompt", *(f'{i},"{p}"' for i, p in enumerate(PROMPTS))]),
    ".tsv": "\n".join(["id\tprompt", *(f"{i}\t{p}" for i, p in enumerate(PROMPTS))]),
}

Compress = Callable[[bytes], bytes]


def _zstd(data: bytes) -> bytes:
    compressed: bytes = pa.compress(data, codec="zstd", asbytes=True)
    return compressed


CODECS = {".gz": gzip.compress, ".zst": _zstd}


@pytest.fixture(params=CODECS)
def codec(request: pytest.FixtureRequest) -> tuple[str, Compress]:
    return request.param, CODECS[request.param]


@pytest.mark.parametrize("suffix", CONTENTS)
def test_compressed_is_read_as_its_content(
    tmp_path: Path, codec: tuple[str, Compress], suffix: str
) -> None:
    ending, compress = codec
    path = tmp_path / f"p{suffix}{ending}"
    path.write_bytes(compress(CONTENTS[suffix].encode()))
    assert rows_of(path) == PROMPTS


def test_compressed_in_several_parts_is_read_to_its_end(
    tmp_path: Path, codec: tuple[str, Compress]
) -> None:
    ending, compress = codec
    path = tmp_path / f"p.txt{ending}"
    path.write_bytes(b"".join(compress(f"{prompt}\n".encode()) for prompt in PROMPTS))
    assert rows_of(path) == PROMPTS
    path.rename(tmp_path / f"P.TXT{ending.upper()}")
    assert rows_of(tmp_path / "P.*") == PROMPTS


def test_compressed_cut_off_is_refused(tmp_path: Path, codec: tuple[str, Compress]) -> None:
    ending, compress = codec
    path = tmp_path / f"p.txt{ending}"
    part = compress(CONTENTS[".txt"].encode())
    for complete in (part, part + part):
        for cut in (1, 5, 9, len(part) // 2, len(part) - 3):
            path.write_bytes(complete[:-cut])
            assert error_of(path).startswith(f"{path}: truncated or damaged"), cut
    for nothing in (b"", part[:2]):
        path.write_bytes(nothing)
        assert str(path) in error_of(path)


def test_compressed_damaged_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.txt.gz"
    content = bytearray(gzip.compress(CONTENTS[".txt"].encode(), mtime=0))
    for position in (len(content) // 2, -6):
        damaged = content.copy()
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        assert error_of(path).startswith(f"{path}: truncated or damaged")
    path.write_bytes(bytes(content) + b"more")
    assert error_of(path).startswith(f"{path}: truncated or damaged")


def test_compressed_other_than_its_suffix_is_refused(tmp_path: Path) -> None:
    text, packed = CONTENTS[".txt"].encode(), gzip.compress(b"a\n")
    for name, content, message in (
        ("a.txt.gz", text, "not gzip, as its name suggests"),
        ("a.txt.gz", _zstd(text), "not gzip, as its name suggests; it is zstd"),
        ("a.txt.zst", packed, "not zstd, as its name suggests; it is gzip"),
        ("a.txt", packed, "gzip and not text; give it a name that ends in .gz"),
        ("a.csv", _zstd(text), "zstd and not text; give it a name that ends in .zst"),
        ("a.jsonl", b"PK\x03\x04" + text, "a zip archive and not text"),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        assert error_of(path).startswith(f"{path}: {message}"), name


@pytest.mark.parametrize("name", ["p.parquet.gz", "p.arrow.zst", "p.tar.zst"])
def test_compressed_tables_are_refused_with_what_to_do(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(_zstd(b"a"))
    assert error_of(path).startswith(f"{path}: decompress it first")


def test_compressed_unknown_inner_suffix_asks_for_the_format(tmp_path: Path) -> None:
    path = tmp_path / "p.dat.gz"
    path.write_bytes(gzip.compress(b"a\nb\n"))
    assert "set format to one of" in error_of(path)
    assert rows_of(path, format="text") == ["a", "b"]


def test_compressed_line_without_an_end_is_refused_in_bounded_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_file, "LONGEST", 1000)
    packer = zlib.compressobj(wbits=31)
    path = tmp_path / "bomb.txt.gz"
    path.write_bytes(packer.compress(b"a\n" + b" " * 3000) + packer.flush())
    assert error_of(path).startswith(f"{path}:2: a line of more than 1,000 bytes")
    table = tmp_path / "open.csv"
    table.write_text('prompt\n"a cat\n' + "a dog\n" * 500)
    assert error_of(table).startswith(
        f"{table}:2: malformed CSV: the quoted field that begins here"
    )
