"""How many tokens prompts have, by a tokenizer of transformers."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class TokenCounter:
    """Counts the tokens of prompts, special ones among them.

    CLIP's tokenizer drops the spaces and then reads each word by itself, so a word's tokens are
    counted once and remembered: prompts repeat their words, and this takes a fifth of the time. Of
    a tokenizer that keeps the spaces, as T5's does, whole prompts are counted.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase") -> None:
        self._tokenizer = tokenizer
        self._by_word = _drops_spaces(tokenizer)
        self._words: dict[str, int] = {}
        self._special: int = tokenizer.num_special_tokens_to_add()
        added = tokenizer.added_tokens_encoder
        self._inversions = any(f"{token}_1" in added for token in added)
        """Whether a textual inversion has several vectors: pipelines expand its word."""

    def counts(self, prompts: Sequence[str]) -> list[int]:
        """The number of tokens of each prompt."""
        if not self._by_word:
            return self._count(prompts, special=True)
        split = [prompt.split() for prompt in prompts]
        new = list({word for words in split for word in words} - self._words.keys())
        if new:
            self._words.update(zip(new, self._count(new, special=False), strict=True))
        return [self._special + sum(map(self._words.__getitem__, words)) for words in split]

    def _count(self, texts: Sequence[str], *, special: bool) -> list[int]:
        encoded = self._tokenizer(
            self._expanded(texts), truncation=False, verbose=False, add_special_tokens=special
        )
        return [len(ids) for ids in encoded["input_ids"]]

    def _expanded(self, texts: Sequence[str]) -> list[str]:
        """The texts as a pipeline gives them to its tokenizer."""
        if not self._inversions:
            return list(texts)
        from diffusers.loaders.textual_inversion import TextualInversionLoaderMixin  # seconds

        pipe: Any = TextualInversionLoaderMixin()  # carries no types
        return [pipe.maybe_convert_prompt(text, self._tokenizer) for text in texts]


def _drops_spaces(tokenizer: "PreTrainedTokenizerBase") -> bool:
    """Whether a space is no part of any piece that is tokenized by itself."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    splitter = None if backend is None else backend.pre_tokenizer
    if splitter is None:
        return False
    return [span for _, span in splitter.pre_tokenize_str("a b")] == [(0, 1), (2, 3)]
