"""Words and phrases that no prompt may hold: whole words, in any case."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from pipeline.errors import PromptFileError
from pipeline.prompts.formats.lines import utf8_lines
from pipeline.prompts.prompt import Drop, SourcePrompt
from pipeline.records import DropReason

# Chinese and Japanese put no space between words, so each of their characters is one here.
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_CJK}]|[^\W{_CJK}]+|[^\w\s]")

Phrases = Mapping[str, Sequence[tuple[str, ...]]]
"""Phrases as words, by their first word."""


def read_block_list(path: Path) -> Phrases:
    """The phrases of a UTF-8 file, one a line; lines that are blank or begin with # do not count.

    Raises ``PromptFileError``, also for a file without a phrase.
    """
    lines = (line.strip() for line in utf8_lines(path))
    phrases: dict[str, list[tuple[str, ...]]] = {}
    for line in lines:
        if line and not line.startswith("#"):
            words = _words(line)
            phrases.setdefault(words[0], []).append(words)
    if not phrases:
        raise PromptFileError(f"{path}: a block-list without a word")
    return phrases


def drop_blocked(prompts: Iterable[SourcePrompt], phrases: Phrases) -> Iterator[Drop | None]:
    """Drop what holds a phrase; it says which."""
    for prompt in prompts:
        found = _first_phrase(_words(prompt.text), phrases)
        yield None if found is None else Drop(reason=DropReason.BLOCKED, detail=" ".join(found))


def _words(text: str) -> tuple[str, ...]:
    """The words and single signs of a text in an order, so that ``c++`` is three of them."""
    return tuple(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


def _first_phrase(words: tuple[str, ...], phrases: Phrases) -> tuple[str, ...] | None:
    for position, word in enumerate(words):
        for phrase in phrases.get(word, ()):
            if words[position : position + len(phrase)] == phrase:
                return phrase
    return None
