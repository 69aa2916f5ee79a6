"""Tar files as the library webdataset writes them, and others."""

import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import webdataset

from tests.prompts.reading import error_of, rows_of

PROMPTS = ["a red ring", "二つの円", "a cat. with a dot"]


def _write(path: Path, samples: Sequence[Mapping[str, object]]) -> Path:
    with webdataset.TarWriter(str(path)) as tar:
        for number, sample in enumerate(samples):
            tar.write({"__key__": f"part.one/{number:04d}", "jpg": b"\xff" * 600, **sample})
    return path


def _texts(path: Path) -> Path:
    return _write(path, [{"txt": prompt} for prompt in PROMPTS])


def test_webdataset_member_is_read_as_webdataset_reads_it(tmp_path: Path) -> None:
    path = _texts(tmp_path / "p.tar")
    assert rows_of(path) == PROMPTS
    read = webdataset.WebDataset(str(path), shardshuffle=False)
    assert [sample["txt"].decode() for sample in read] == PROMPTS


def test_webdataset_field_of_a_json_member(tmp_path: Path) -> None:
    samples = [{"json": {"caption": p, "id": i}, "txt": "x"} for i, p in enumerate(PROMPTS)]
    path = _write(tmp_path / "p.tar", samples)
    assert rows_of(path, member="json", column="caption") == PROMPTS
    key = "part.one/0000.json"
    assert error_of(path, member="json") == f"{path}: {key}: no field 'prompt'; has 'caption', 'id'"


def test_webdataset_suffix_with_a_dot_in_it(tmp_path: Path) -> None:
    path = _write(tmp_path / "p.tar", [{"blip.txt": prompt, "txt": "x"} for prompt in PROMPTS])
    assert rows_of(path, member=".blip.txt") == PROMPTS


def test_webdataset_shards_of_a_pattern_compressed_too(tmp_path: Path) -> None:
    _texts(tmp_path / "a-0.tar")
    _texts(tmp_path / "a-1.tar.gz")
    assert rows_of(tmp_path / "a-*") == PROMPTS * 2


def test_webdataset_sample_without_the_member_is_a_row_without_a_prompt(tmp_path: Path) -> None:
    path = _write(tmp_path / "p.tar", [{"txt": "a"}, {"json": {}}, {"txt": "b"}])
    assert rows_of(path) == ["a", "", "b"]


def test_webdataset_wrong_member_names_those_there_are(tmp_path: Path) -> None:
    path = _texts(tmp_path / "p.tar")
    assert error_of(path, member="caption") == (
        f"{path}: no member .caption in any sample; has jpg, txt; set member"
    )


def test_webdataset_member_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    path = tmp_path / "p.tar"
    with tarfile.open(path, "w") as tar:
        member = tarfile.TarInfo("0.txt")
        member.size = 1
        tar.addfile(member, io.BytesIO(b"\xfc"))
    assert error_of(path).startswith(f"{path}: 0.txt: not UTF-8")


@pytest.mark.parametrize("size", [0, 100, 700, 2400])
def test_webdataset_cut_off_is_reported(tmp_path: Path, size: int) -> None:
    path = _texts(tmp_path / "p.tar")
    path.write_bytes(path.read_bytes()[:size])
    assert error_of(path).startswith(f"{path}: not a tar file, or truncated or damaged")


def _members(path: Path, members: list[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def test_webdataset_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    path = _texts(tmp_path / "p.tar")
    content = path.read_bytes()
    end = len(content.rstrip(b"\0")) // 512 * 512 + 512
    for size in range(0, end + 512, 512):
        path.write_bytes(content[:size])
        assert error_of(path).startswith(f"{path}: not a tar file, or truncated or damaged"), size
    path.write_bytes(content[: end + 1024])
    assert rows_of(path) == PROMPTS


def test_webdataset_damaged_header_is_not_the_end(tmp_path: Path) -> None:
    path = _members(tmp_path / "p.tar", [(f"{number}.txt", b"a") for number in range(3)])
    content = bytearray(path.read_bytes())
    content[content.index(b"1.txt")] ^= 0xFF
    path.write_bytes(content)
    assert error_of(path).startswith(f"{path}: not a tar file, or truncated or damaged")


def test_webdataset_tars_in_one_file_are_refused(tmp_path: Path) -> None:
    path = _texts(tmp_path / "p.tar")
    path.write_bytes(path.read_bytes() * 2)
    assert "data follows the end of the tar" in error_of(path)


def test_webdataset_compressed_cut_off_or_damaged_is_refused(tmp_path: Path) -> None:
    path = _texts(tmp_path / "p.tar.gz")
    content = path.read_bytes()
    for cut in (1, 9, len(content) // 2):
        path.write_bytes(content[:-cut])
        assert error_of(path).startswith(f"{path}: not a tar file, or truncated or damaged"), cut
    for position in range(10, len(content), 7):
        damaged = bytearray(content)
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        assert str(path) in error_of(path)


def test_webdataset_strange_members_are_read_as_webdataset_reads_them(tmp_path: Path) -> None:
    members = [
        ("__meta__/x.txt", b"not a sample"),
        ("README", b"no suffix"),
        ("0.jpg", b"x"),
        ("._0.txt", b"\x00\x05\x16\x07"),
        ("0.TXT", b"a"),
        ("1.jpg", b"x"),
        ("2.txt", b"c"),
        ("1.txt", b"b, out of its group"),
        ("a.b/3.txt", b"d"),
    ]
    path = _members(tmp_path / "p.tar", members)
    read = webdataset.WebDataset(str(path), shardshuffle=False)
    expected = [sample.get("txt", b"").decode() for sample in read]
    assert rows_of(path) == expected
    assert [row for row in expected if row] == ["a", "c", "b, out of its group", "d"]


def test_webdataset_member_twice_in_a_sample_is_refused(tmp_path: Path) -> None:
    path = _members(tmp_path / "p.tar", [("0.txt", b"a"), ("0.txt", b"b")])
    assert error_of(path) == f"{path}: 0.txt: the sample has two members .txt"


def test_webdataset_member_that_is_a_link_is_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.tar"
    with tarfile.open(path, "w") as tar:
        member = tarfile.TarInfo("0.txt")
        member.size = 1
        tar.addfile(member, io.BytesIO(b"a"))
        link = tarfile.TarInfo("1.txt")
        link.type, link.linkname = tarfile.LNKTYPE, "0.txt"
        tar.addfile(link)
    assert rows_of(path) == ["a", "a"]
    with tarfile.open(path, "a") as tar:
        link = tarfile.TarInfo("2.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "elsewhere.txt"
        tar.addfile(link)
    assert error_of(path) == f"{path}: 2.txt: a link to a member that is not in the tar"


def test_webdataset_byte_order_mark_is_no_part_of_the_prompt(tmp_path: Path) -> None:
    text = _members(tmp_path / "t.tar", [("0.txt", b"\xef\xbb\xbfa")])
    assert rows_of(text) == ["a"]
    json_member = _members(tmp_path / "j.tar", [("0.json", b'\xef\xbb\xbf{"prompt": "a"}')])
    assert rows_of(json_member, member="json") == ["a"]


def test_webdataset_json_nested_too_deeply_is_reported(tmp_path: Path) -> None:
    path = _members(tmp_path / "p.tar", [("0.json", b"[" * 100_000)])
    assert error_of(path, member="json").startswith(f"{path}: 0.json: nested too deeply")
