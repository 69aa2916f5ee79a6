"""The longest test files come first, also with several processes."""

from pathlib import Path

from tests.order import LONGEST_FIRST

ROOT = Path(__file__).parents[1]


def test_files_that_come_first_exist() -> None:
    assert [name for name in LONGEST_FIRST if not (ROOT / name).is_file()] == []


def test_processes_take_files_in_this_order() -> None:
    """Without the option xdist sorts files by their number of tests. The longest have few."""
    assert "--dist loadfile --no-loadscope-reorder" in (ROOT / "Makefile").read_text()
