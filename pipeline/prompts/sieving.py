"""Prompts through sieves: what stays, and why the rest does not. Pure, in one order."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.errors import PromptChoiceError
from pipeline.prompts.prompt import Drop, Sieve, SourcePrompt
from pipeline.prompts.visible import code_points, is_visible
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
