"""Files that somebody else made: links, FIFOs and JSON."""

import os
from pathlib import Path

import pytest

from pipeline.core.errors import ModelError
from pipeline.core.untrusted_files import check_file, check_numbers, read_json


def test_links_out_of_the_folder_fifos_and_loops_are_rejected(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "private").write_text("private")
    (folder / "inside").write_text("")
    for name, target in (("out", "../private"), ("loop", "loop"), ("good", "inside")):
        (folder / name).symlink_to(target)
    os.mkfifo(folder / "fifo")
    check_file(folder / "good", ModelError, folder)
    for name in ("out", "loop", "fifo", "none", "a\0b"):
        with pytest.raises(ModelError, match=r"folder/"):
            check_file(folder / name, ModelError, folder)


@pytest.mark.parametrize("content", ["[" * 100_000, "[]", "{", '{"a": "' + "x" * 1000, "\0"])
def test_json_that_is_no_object_or_too_large_is_rejected(content: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(content)
    with pytest.raises(ModelError, match=r"config\.json"):
        read_json(path, ModelError, limit=100_000)


def test_numbers_are_limited_at_any_depth() -> None:
    path = Path("config.json")
    check_numbers(path, {"a": [{"b": 2**20}], "c": True, "d": 1e300}, ModelError)
    with pytest.raises(ModelError, match=r"config\.json: b is about 2\^"):
        check_numbers(path, {"a": [{"b": [10**5000]}]}, ModelError)
