"""Files of a path: only patterns in the configuration are expanded."""

from pathlib import Path

import pytest

from pipeline.config.file import BUNDLED, load_config
from tests.prompts.reading import error_of, rows_of


@pytest.mark.parametrize("name", ["[x]", "a[0-9]*", "{a,b}", "what?", "**"])
def test_pattern_in_a_folder_whose_name_has_its_signs(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name / "parts"
    folder.mkdir(parents=True)
    for number in range(2):
        (folder / f"p{number}.txt").write_text(f"prompt {number}\n")
    (tmp_path / "x" / "parts").mkdir(parents=True)
    (tmp_path / "x" / "parts" / "p9.txt").write_text("of another folder\n")
    assert rows_of(folder / "p[01].txt") == ["prompt 0", "prompt 1"]
    assert rows_of(tmp_path / name / "*" / "*.txt") == ["prompt 0", "prompt 1"]
    assert rows_of(folder / "p1.txt") == ["prompt 1"]
    missing = folder / "p7.txt"
    assert error_of(missing) == f"{missing}: no such prompt file"


def test_pattern_of_a_configuration_in_such_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "run [v*]"
    folder.mkdir()
    (folder / "a.txt").write_text("a\n")
    demo = (BUNDLED / "demo.toml").read_text()
    (folder / "c.toml").write_text(demo.replace('path = "prompts.txt"', 'path = "*.txt"'))
    path = load_config(folder / "c.toml").prompts.path
    assert path is not None and rows_of(Path(path)) == ["a"]


def test_pattern_broken_link_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a\n")
    (tmp_path / "b.txt").symlink_to(tmp_path / "moved.txt")
    assert error_of(tmp_path / "*.txt") == (
        f"{tmp_path / 'b.txt'}: a broken link, or not a regular file"
    )


def test_pattern_with_braces_says_that_they_are_none(tmp_path: Path) -> None:
    (tmp_path / "p-00.txt").write_text("a\n")
    assert "braces are not a pattern" in error_of(tmp_path / "p-{00..09}.txt")


def test_path_that_cannot_be_one_is_reported(tmp_path: Path) -> None:
    (tmp_path / "loop.txt").symlink_to(tmp_path / "loop.txt")
    for name in ("loop.txt", "a\0b.txt", "x" * 5000 + ".txt"):
        assert repr(name)[1:-1] in error_of(tmp_path / name)
    (tmp_path / "file").write_text("a\n")
    assert "no such prompt file" in error_of(tmp_path / "file" / "p.txt")
