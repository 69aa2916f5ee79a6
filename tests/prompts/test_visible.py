"""Prompts in which nothing can be seen are blank."""

import json
from pathlib import Path

import pytest

from pipeline.prompts.choosing import distinct_prompts
from pipeline.prompts.sieving import drop_blank
from pipeline.prompts.visible import is_visible
from pipeline.records import DropReason
from tests.prompts.reading import error_of, prompts_of

UNSEEN = ["", "\u200b", "\ufeff", "\0", "\0\0 \u200d", "\u2060\u00ad", "\u3164", "\u2800", "\ufe0f"]
SEEN = ["a", "\u200ba", "二", "🙂", "\u0301", "!", "\ue000"]


@pytest.mark.parametrize("text", UNSEEN, ids=ascii)
def test_nothing_to_be_seen(text: str) -> None:
    assert not is_visible(text)


@pytest.mark.parametrize("text", SEEN, ids=ascii)
def test_something_to_be_seen(text: str) -> None:
    assert is_visible(text)


def test_unseen_prompts_are_dropped_and_say_what_they_hold() -> None:
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
    assert error_of(lines) == f"{lines}: holds no prompt"
