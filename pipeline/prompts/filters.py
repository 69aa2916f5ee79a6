"""Filters that drop prompts: blank, repeated, blocked and unsafe ones, and their application.

The longer filters are in ``token_limit``, ``near_duplicates`` and ``sampling``.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

from pipeline.config.prompts import SafetyConfig
from pipeline.core.entry_point import custom_code, make_entry
from pipeline.core.errors import EntryPointError, PromptChoiceError, PromptFileError
from pipeline.core.records import DropReason
from pipeline.prompts.prompt import Drop, PromptFilter, SourcePrompt, code_points, is_visible
from pipeline.prompts.text_file import utf8_lines

SAFE = "safe"
"""Verdict recorded for prompts for which a safety filter returns None."""

PROMPTS_AT_ONCE = 256
"""Number of prompts per call of a safety filter."""

_LONGEST_LABEL = 200
"""Maximum number of characters in the label of a safety filter. Labels are counted and printed."""

# Chinese and Japanese put no space between words, so each of their characters counts as a word.
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_CJK}]|[^\W{_CJK}]+|[^\w\s]")

Phrases = Mapping[str, Sequence[tuple[str, ...]]]
"""Maps the first word of each phrase to the phrases that begin with it, as tuples of words."""


@dataclass(frozen=True, kw_only=True)
class FilterResult:
    """Kept and dropped prompts."""

    kept: tuple[SourcePrompt, ...]
    """Kept prompts, in the order in which they were read."""
    dropped: tuple[tuple[SourcePrompt, Drop], ...]
    """Dropped prompts, filter by filter, each in the order in which they were read."""


def filter_prompts(
    prompts: Sequence[SourcePrompt], filters: Iterable[PromptFilter]
) -> FilterResult:
    """Apply filters one after the other. Each receives the prompts that the previous ones kept.

    Raise ``PromptChoiceError`` if no prompt is left. The error names the filter that dropped the
    last ones.
    """
    kept: Sequence[SourcePrompt] = prompts
    dropped: list[tuple[SourcePrompt, Drop]] = []
    for each in filters:
        left: list[SourcePrompt] = []
        for prompt, drop in zip(kept, each(kept), strict=True):
            if drop is None:
                left.append(prompt)
            else:
                dropped.append((prompt, drop))
        if not left:
            raise PromptChoiceError(_nothing_left(len(prompts), dropped))
        kept = left
    return FilterResult(kept=tuple(kept), dropped=tuple(dropped))


def _nothing_left(rows: int, dropped: Sequence[tuple[SourcePrompt, Drop]]) -> str:
    if not rows:
        return "no prompt is left: the sources contain no rows"
    counts = Counter(drop.reason for _, drop in dropped)
    prompt, last = dropped[-1]
    reasons = ", ".join(f"{count} {reason.value}" for reason, count in counts.items())
    detail = "" if last.detail is None else f" ({last.detail})"
    return (
        f"no prompt is left of {rows}: {reasons}; the last ones were dropped as "
        f"{last.reason.value}, such as {prompt.text[:60]!r}{detail}"
    )


def drop_blank(prompts: Sequence[SourcePrompt]) -> Iterable[Drop | None]:
    """Drop prompts without a visible character. The detail lists the characters they contain."""
    for prompt in prompts:
        if is_visible(prompt.text):
            yield None
        else:
            detail = f"only {code_points(prompt.text)}" if prompt.text else None
            yield Drop(reason=DropReason.BLANK, detail=detail)


def drop_repeated(prompts: Sequence[SourcePrompt]) -> Iterable[Drop | None]:
    """Drop prompts with the same text as an earlier one."""
    # Texts are normalised when they are read, so prompts that differ in white space are equal here.
    first: dict[str, SourcePrompt] = {}
    for prompt in prompts:
        earlier = first.setdefault(prompt.text, prompt)
        yield (None if earlier is prompt else Drop(reason=DropReason.REPEATED, resembles=earlier))


def read_block_list(path: Path) -> Phrases:
    """Read the phrases of a UTF-8 file, one per line. Blank lines and lines with # are skipped.

    Raise ``PromptFileError`` if the file cannot be read or has no phrase.
    """
    lines = (line.strip() for line in utf8_lines(path))
    # Grouped by their first word, so that a word of a prompt is compared with few phrases.
    phrases: dict[str, list[tuple[str, ...]]] = {}
    for line in lines:
        if line and not line.startswith("#"):
            words = _words(line)
            phrases.setdefault(words[0], []).append(words)
    if not phrases:
        raise PromptFileError(f"{path}: the block-list contains no words")
    return phrases


def drop_blocked(prompts: Iterable[SourcePrompt], phrases: Phrases) -> Iterator[Drop | None]:
    """Drop prompts that contain a phrase as complete words, in any case. The detail names it."""
    for prompt in prompts:
        found = _first_phrase(_words(prompt.text), phrases)
        yield None if found is None else Drop(reason=DropReason.BLOCKED, detail=" ".join(found))


def _words(text: str) -> tuple[str, ...]:
    """Return the words and punctuation marks of a text, in order. ``c++`` has three."""
    return tuple(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


def _first_phrase(words: tuple[str, ...], phrases: Phrases) -> tuple[str, ...] | None:
    for position, word in enumerate(words):
        for phrase in phrases.get(word, ()):
            if words[position : position + len(phrase)] == phrase:
                return phrase
    return None


class SafetyFilter(Protocol):
    """Protocol of the class that ``[prompts.safety] entry`` names."""

    def verdicts(self, prompts: Sequence[str]) -> Sequence[str | None]:
        """Return None for each safe prompt, and a short label for each unsafe one.

        A verdict must depend on its prompt alone, so that the same prompts make the same plan.
        """


def drop_unsafe(prompts: Sequence[SourcePrompt], config: SafetyConfig) -> Iterator[Drop | None]:
    """Drop prompts that the configured safety filter labels as unsafe. The detail is the label.

    Raise ``EntryPointError`` if the filter is missing or violates its protocol, and every error
    that the filter raises.
    """
    safety: SafetyFilter = make_entry(config.entry, config.code, config.options)
    if not callable(getattr(safety, "verdicts", None)):
        raise EntryPointError(
            f"{config.entry} has no method verdicts(prompts); see docs/prompts.md"
        )
    for start in range(0, len(prompts), PROMPTS_AT_ONCE):
        texts = [prompt.text for prompt in prompts[start : start + PROMPTS_AT_ONCE]]
        for verdict in _verdicts(safety, texts, config.entry):
            yield None if verdict is None else Drop(reason=DropReason.UNSAFE, detail=verdict)


def _verdicts(safety: SafetyFilter, texts: Sequence[str], entry: str) -> Sequence[str | None]:
    try:
        with custom_code(entry):
            made = safety.verdicts(texts)
            # A text is a sequence too, but not of verdicts. One more than expected is enough.
            is_list = isinstance(made, Iterable) and not isinstance(made, str | bytes | Mapping)
            found = list(islice(made, len(texts) + 1)) if is_list else None
    except EntryPointError:
        raise
    except Exception as error:  # user code may raise anything; the error is raised again
        error.add_note(f"in the safety filter {entry}, on {len(texts)} prompts from {texts[0]!r}")
        raise
    if found is None:
        raise EntryPointError(
            f"{entry}: verdicts returned {type(made).__name__}; it must return one verdict for "
            "each prompt"
        )
    if len(found) != len(texts):
        count = "more" if len(found) > len(texts) else len(found)
        raise EntryPointError(f"{entry}: returned {count} verdicts for {len(texts)} prompts")
    for text, verdict in zip(texts, found, strict=True):
        if verdict is not None and not _is_label(verdict):
            raise EntryPointError(
                f"{entry}: the verdict on {text!r} is {repr(verdict)[:_LONGEST_LABEL]}; return "
                "None if the prompt is safe, or else a short label"
            )
    return found


def _is_label(verdict: object) -> bool:
    return (
        isinstance(verdict, str)
        and verdict not in ("", SAFE)
        and verdict.isprintable()
        and len(verdict) <= _LONGEST_LABEL
    )
