"""The block-list against a regular expression that says the same."""

import re
from pathlib import Path

import pytest

from pipeline.errors import PromptFileError
from pipeline.prompts.block_list import drop_blocked, read_block_list
from tests.prompts.reading import prompts_of

PHRASES = ["gore", "Red Ring", "c++", "r-18", "straße", "bad"]
TEXTS = [
    "a gore scene",
    "a GORE-like scene",
    "gored by a bull",
    "the red ring",
    "a red  RING, big",
    "red, ring",
    "a bored ring",
    "written in C++ and rust",
    "c + 1",
    "an R-18 image",
    "r 18",
    "eine STRASSE",
    "straßen",
    "badly lit",
    "not_bad",
    "so bad",
    "nothing of the kind",
]


def _blocked(path: Path, phrases: list[str], texts: list[str]) -> list[str | None]:
    path.write_text("\n".join(phrases), encoding="utf-8")
    drops = drop_blocked(prompts_of(texts), read_block_list(path))
    return [drop and drop.detail for drop in drops]


def test_blocked_are_whole_words_and_phrases_in_any_case(tmp_path: Path) -> None:
    patterns = [
        re.compile(rf"(?<!\w){re.escape(phrase.casefold())}(?!\w)".replace(r"\ ", r"\s+"))
        for phrase in PHRASES
    ]
    expected = [any(p.search(text.casefold()) for p in patterns) for text in TEXTS]
    found = _blocked(tmp_path / "list.txt", PHRASES, TEXTS)
    assert [detail is not None for detail in found] == expected
    assert sum(expected) == 8


def test_blocked_says_the_phrase(tmp_path: Path) -> None:
    texts = ["a red ring of gore", "r-18"]
    assert _blocked(tmp_path / "list.txt", PHRASES, texts) == ["red ring", "r - 18"]


def test_blocked_where_no_space_stands_between_words(tmp_path: Path) -> None:
    texts = ["一个红色的猫", "一个黑色的猫", "赤いネコの絵"]
    found = _blocked(tmp_path / "list.txt", ["红色", "ネコ"], texts)
    assert found == ["红 色", None, "ネ コ"]


def test_block_list_comments_and_blank_lines_do_not_count(tmp_path: Path) -> None:
    assert _blocked(tmp_path / "list.txt", ["# gore", "", "  ", "bad"], ["gore #"]) == [None]


def test_block_list_without_a_word_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("# nothing\n")
    with pytest.raises(PromptFileError, match=r"list\.txt: a block-list without a word"):
        read_block_list(tmp_path / "list.txt")
    with pytest.raises(PromptFileError, match="no such prompt file"):
        read_block_list(tmp_path / "elsewhere.txt")
