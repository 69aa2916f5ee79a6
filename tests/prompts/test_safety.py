"""A safety filter of the user's own, and such as keep not to the protocol."""

import itertools
from pathlib import Path

import pytest

from pipeline.config.prompts import SafetyConfig
from pipeline.errors import EntryPointError
from pipeline.prompts.prompt import Drop
from pipeline.prompts.safety import drop_unsafe
from pipeline.records import DropReason
from tests.prompts.reading import prompts_of

_MODULES = itertools.count()


def _filter(folder: Path, body: str, **options: object) -> SafetyConfig:
    """A class with a method ``verdicts`` of this body, in a module of its own."""
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
    ("body", "said"),
    [
        ("return [None]", "gave 1 verdicts on 2 prompts"),
        ("return [None, False]", "the verdict on 'b' is False"),
        ("return ['', None]", "the verdict on 'a' is ''"),
        ("return ['safe', None]", "the verdict on 'a' is 'safe'; give None for safe"),
    ],
)
def test_filter_that_keeps_not_to_the_protocol_is_refused(
    tmp_path: Path, body: str, said: str
) -> None:
    with pytest.raises(EntryPointError, match=said):
        list(drop_unsafe(prompts_of(["a", "b"]), _filter(tmp_path, body)))


def test_filter_that_fails_keeps_its_error_which_says_where(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        list(drop_unsafe(prompts_of(["a", "b"]), _filter(tmp_path, "return [1 / 0]")))
    assert caught.value.__notes__[0].endswith(":Filter, on 2 prompts from 'a'")


def test_filter_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(EntryPointError, match="no module 'nowhere'"):
        list(drop_unsafe(prompts_of(["a"]), SafetyConfig(entry="nowhere:F", code=str(tmp_path))))
