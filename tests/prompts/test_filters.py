"""Filters: visible text, the block-list against a regular expression, custom safety filters."""

import itertools
import json
import re
from pathlib import Path

import pytest

from pipeline.config.prompts import SafetyConfig
from pipeline.core.errors import EntryPointError, PromptFileError
from pipeline.core.records import DropReason
from pipeline.prompts.choosing import distinct_prompts
from pipeline.prompts.filters import drop_blank, drop_blocked, drop_unsafe, read_block_list
from pipeline.prompts.prompt import Drop, is_visible
from tests.prompts.reading import error_of, prompts_of

UNSEEN = ["", "\u200b", "\ufeff", "\0", "\0\0 \u200d", "\u2060\u00ad", "\u3164", "\u2800", "\ufe0f"]
SEEN = ["a", "\u200ba", "二", "🙂", "\u0301", "!", "\ue000"]


@pytest.mark.parametrize("text", UNSEEN, ids=ascii)
def test_nothing_to_be_seen(text: str) -> None:
    assert not is_visible(text)


@pytest.mark.parametrize("text", SEEN, ids=ascii)
def test_something_to_be_seen(text: str) -> None:
    assert is_visible(text)


def test_blank_prompts_are_dropped_with_their_characters() -> None:
    empty, zero_width, seen = drop_blank(prompts_of(["", "\u200b\ufeff", "a"]))
    assert seen is None and empty is not None and zero_width is not None
    assert (empty.reason, empty.detail) == (DropReason.BLANK, None)
    assert (zero_width.reason, zero_width.detail) == (DropReason.BLANK, "only U+200B U+FEFF")


def test_unseen_prompts_of_files_are_none(tmp_path: Path) -> None:
    text = tmp_path / "p.txt"
    text.write_text("a\n" + "\n".join(UNSEEN) + "\nb\n", encoding="utf-8")
    lines = tmp_path / "p.jsonl"
    lines.write_text("".join(json.dumps({"prompt": row}) + "\n" for row in ["a", *UNSEEN, "b"]))
    assert distinct_prompts(text, "prompt") == distinct_prompts(lines, "prompt") == ["a", "b"]
    lines.write_text(json.dumps({"prompt": "\u200b"}))
    assert error_of(lines) == f"{lines}: contains no prompts"


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
    return [None if drop is None else drop.detail for drop in drops]


def test_blocked_are_complete_words_and_phrases_in_any_case(tmp_path: Path) -> None:
    patterns = [
        re.compile(rf"(?<!\w){re.escape(phrase.casefold())}(?!\w)".replace(r"\ ", r"\s+"))
        for phrase in PHRASES
    ]
    expected = [any(p.search(text.casefold()) for p in patterns) for text in TEXTS]
    found = _blocked(tmp_path / "list.txt", PHRASES, TEXTS)
    assert [detail is not None for detail in found] == expected
    assert sum(expected) == 8


def test_blocked_detail_is_the_phrase(tmp_path: Path) -> None:
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
    with pytest.raises(PromptFileError, match=r"list\.txt: the block-list contains no words"):
        read_block_list(tmp_path / "list.txt")
    with pytest.raises(PromptFileError, match="no such prompt file"):
        read_block_list(tmp_path / "elsewhere.txt")


_MODULES = itertools.count()


def _filter(folder: Path, body: str, **options: object) -> SafetyConfig:
    """Write a module with a class whose method ``verdicts`` has this body."""
    module = f"safety_of_test_{next(_MODULES)}"
    (folder / f"{module}.py").write_text(
        "class Filter:\n"
        "    def __init__(self, word='gore'):\n"
        "        self.word = word\n"
        "    def verdicts(self, prompts):\n"
        f"        {body}\n"
    )
    return SafetyConfig(entry=f"{module}:Filter", code=str(folder), options=options)


BY_WORD = "return [f'holds {self.word}' if self.word in p else None for p in prompts]"


def test_unsafe_are_dropped_with_the_verdict(tmp_path: Path) -> None:
    texts = [f"prompt {number}" for number in range(600)]
    drops = list(drop_unsafe(prompts_of(texts), _filter(tmp_path, BY_WORD, word="99")))
    expected = [
        Drop(reason=DropReason.UNSAFE, detail="holds 99") if "99" in t else None for t in texts
    ]
    assert drops == expected and sum("99" in text for text in texts) == 6


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return [None]", "returned 1 verdicts for 2 prompts"),
        ("return [None, False]", "the verdict on 'b' is False"),
        ("return ['', None]", "the verdict on 'a' is ''"),
        ("return ['\\x1b[31m', None]", "the verdict on 'a' is '"),
        ("return ['x' * 300, None]", "the verdict on 'a' is 'xxx"),
        ("return 'ab'", "verdicts returned str; it must return one verdict for each prompt"),
        ("return {'a': None, 'b': None}", "verdicts returned dict"),
        ("return None", "verdicts returned NoneType"),
        ("return iter(str, None)", "returned more verdicts for 2 prompts"),
        ("import sys; sys.exit(0)", r"tried to end the process with sys\.exit\(0\)"),
        (
            "return ['safe', None]",
            "the verdict on 'a' is 'safe'; return None if",
        ),
    ],
)
def test_filter_that_violates_the_protocol_is_refused(
    tmp_path: Path, body: str, message: str
) -> None:
    with pytest.raises(EntryPointError, match=message):
        list(drop_unsafe(prompts_of(["a", "b"]), _filter(tmp_path, body)))


def test_error_of_a_filter_is_raised_with_a_note(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        list(drop_unsafe(prompts_of(["a", "b"]), _filter(tmp_path, "return [1 / 0]")))
    assert caught.value.__notes__[0].endswith(":Filter, on 2 prompts from 'a'")


def test_missing_filter_is_reported(tmp_path: Path) -> None:
    with pytest.raises(EntryPointError, match="no module 'nowhere'"):
        list(drop_unsafe(prompts_of(["a"]), SafetyConfig(entry="nowhere:F", code=str(tmp_path))))
