"""Patterns of published tokenizers are accepted, and those that backtrack without end are not."""

import pytest
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

from pipeline.core.errors import ModelError
from pipeline.core.untrusted_patterns import MAX_PATTERN, panics_named, slow_pattern

_PUBLISHED = {
    "CLIP": r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|"
    r"[^\s\p{L}\p{N}]+",
    "GPT-2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "Llama 3": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "o200k": r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s+(?!\S)|\s+",
    "T5": r" {2,}",
    "spaces": r"\s+",
}


@pytest.mark.parametrize("name", _PUBLISHED)
def test_patterns_of_published_tokenizers_are_accepted(name: str) -> None:
    assert slow_pattern(_PUBLISHED[name]) is None


@pytest.mark.parametrize(
    "pattern",
    [
        r"(a+)+$",
        r"(?:a|aa)+$",
        r"(x+x+)+y",
        r"(a?){20}a{20}",
        r"a?a?a?a?a?a?a?aaaaaaa",
        r"(a|a)(a|a)(a|a)(a|a)(a|a)(a|a)(a|a)b",
        r"\w*\w*\w*b",
        r"(?:\w*\w*(?:\w*))b",
        r"a{1,1000}a{1,1000}a{1,1000}b",
        r"(a)\1",
        r"(?<n>a|b\g<n>c)",
        r"(?(1)a|b)",
        r"(?x)a + +$",
        r"a{1,9}+$",
        r"[a",
        r"(a",
        r"a)",
        "a" * (MAX_PATTERN + 1),
    ],
)
def test_patterns_that_can_take_very_long_are_rejected(pattern: str) -> None:
    assert slow_pattern(pattern) is not None


def test_panic_of_the_library_is_a_model_error() -> None:
    """A panic is no ``Exception``, so nothing else would catch it."""
    tokenizer = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"(a+)+$"), "removed")
    with (
        pytest.raises(ModelError, match=r"tokenizer_2: .*retry-limit-in-match over"),
        panics_named("tokenizer_2"),
    ):
        tokenizer.encode("a" * 30 + "b")
    with pytest.raises(KeyboardInterrupt), panics_named("tokenizer_2"):
        raise KeyboardInterrupt
