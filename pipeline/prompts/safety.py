"""The safety filter: a class of the user's own that calls prompts safe or says what they are."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from pipeline.config.prompts import SafetyConfig
from pipeline.entry_point import make_entry
from pipeline.errors import EntryPointError
from pipeline.prompts.prompt import Drop, SourcePrompt
from pipeline.records import DropReason

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
