"""Prompts through sieves: what stays, and why the rest does not. Pure, in one order.

Words and phrases that no prompt may hold: whole words, in any case.

The safety filter: a class of the user's own that calls prompts safe or says what they are."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pipeline.config.prompts import SafetyConfig
from pipeline.entry_point import make_entry
from pipeline.errors import EntryPointError, PromptChoiceError, PromptFileError
from pipeline.prompts.prompt import Drop, Sieve, SourcePrompt, code_points, is_visible
from pipeline.prompts.text_file import utf8_lines
from pipeline.records import DropReason


@dataclass(frozen=True, kw_only=True)
class FilterResult:
    """What became of every prompt."""

    kept: tuple[SourcePrompt, ...]
    """In the order in which they were read."""
    dropped: tuple[tuple[SourcePrompt, Drop], ...]
    """Sieve by sieve, each in the order in which they were read."""


def sieve_prompts(prompts: Sequence[SourcePrompt], sieves: Iterable[Sieve]) -> FilterResult:
    """Put prompts through sieves, one after the other: each sees what the one before it kept.

    Raises ``PromptChoiceError`` if none is left, which names the sieve that took the last ones.
    """
    kept: Sequence[SourcePrompt] = prompts
    dropped: list[tuple[SourcePrompt, Drop]] = []
    for sieve in sieves:
        left: list[SourcePrompt] = []
        for prompt, drop in zip(kept, sieve(kept), strict=True):
            if drop is None:
                left.append(prompt)
            else:
                dropped.append((prompt, drop))
        if not left:
            raise PromptChoiceError(_nothing_left(len(prompts), dropped))
        kept = left
    return FilterResult(kept=tuple(kept), dropped=tuple(dropped))


def drop_blank(prompts: Sequence[SourcePrompt]) -> Iterable[Drop | None]:
    """Drop prompts in which nothing can be seen; the detail names the characters they hold."""
    for prompt in prompts:
        if is_visible(prompt.text):
            yield None
        else:
            detail = f"only {code_points(prompt.text)}" if prompt.text else None
            yield Drop(reason=DropReason.BLANK, detail=detail)


def drop_repeated(prompts: Sequence[SourcePrompt]) -> Iterable[Drop | None]:
    """Drop what reads like an earlier one; it says which."""
    first: dict[str, SourcePrompt] = {}
    for prompt in prompts:
        earlier = first.setdefault(prompt.text, prompt)
        yield (None if earlier is prompt else Drop(reason=DropReason.REPEATED, resembles=earlier))


def _nothing_left(rows: int, dropped: Sequence[tuple[SourcePrompt, Drop]]) -> str:
    if not rows:
        return "no prompt is left: the sources hold no row"
    counts = Counter(drop.reason for _, drop in dropped)
    prompt, last = dropped[-1]
    said = ", ".join(f"{count} {reason.value}" for reason, count in counts.items())
    detail = "" if last.detail is None else f" ({last.detail})"
    return (
        f"no prompt is left of {rows}: {said}; the last to go were {last.reason.value}, as "
        f"{prompt.text[:60]!r}{detail}"
    )


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


SAFE = "safe"
"""The verdict that a filter gives by None."""

PROMPTS_AT_ONCE = 256


class SafetyFilter(Protocol):
    """What a configuration names by ``[prompts.safety] entry``."""

    def verdicts(self, prompts: Sequence[str]) -> Sequence[str | None]:
        """For each prompt None if it is safe, else a short word for what it is.

        A verdict may depend on its prompt alone, so that the same prompts make the same plan.
        """


def drop_unsafe(prompts: Sequence[SourcePrompt], config: SafetyConfig) -> Iterator[Drop | None]:
    """Drop what the filter of a configuration calls unsafe; it says what that is.

    Raises ``EntryPointError`` for a filter that is not there or keeps not to its protocol, and
    whatever it raises.
    """
    judge: SafetyFilter = make_entry(config.entry, config.code, config.options)
    for start in range(0, len(prompts), PROMPTS_AT_ONCE):
        texts = [prompt.text for prompt in prompts[start : start + PROMPTS_AT_ONCE]]
        for verdict in _verdicts(judge, texts, config.entry):
            yield None if verdict is None else Drop(reason=DropReason.UNSAFE, detail=verdict)


def _verdicts(judge: SafetyFilter, texts: Sequence[str], entry: str) -> Sequence[str | None]:
    try:
        found = list(judge.verdicts(texts))
    except Exception as error:  # code of the user's own may raise anything; it goes on from here
        error.add_note(f"in the safety filter {entry}, on {len(texts)} prompts from {texts[0]!r}")
        raise
    if len(found) != len(texts):
        raise EntryPointError(f"{entry}: gave {len(found)} verdicts on {len(texts)} prompts")
    for text, verdict in zip(texts, found, strict=True):
        if verdict is not None and (not isinstance(verdict, str) or verdict in ("", SAFE)):
            raise EntryPointError(
                f"{entry}: the verdict on {text!r} is {verdict!r}; give None for safe, or a word "
                "for what it is"
            )
    return found
