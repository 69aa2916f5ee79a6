"""Tar files as the library webdataset writes them, and others."""

import io
import tarfile
from pathlib import Path

import pytest
import webdataset

from tests.prompts.reading import error_of, rows_of

PROMPTS = ["a red ring", "二つの円", "a cat. with a dot"]


def _write(path: Path, samples: list[dict[str, object]]) -> Path:
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
def test_webdataset_cut_off_is_said(tmp_path: Path, size: int) -> None:
    path = _texts(tmp_path / "p.tar")
    path.write_bytes(path.read_bytes()[:size])
    assert error_of(path).startswith(f"{path}: not a tar file, cut off or damaged")
