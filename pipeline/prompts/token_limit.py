"""How many tokens prompts have, by a tokenizer of transformers.

Prompts that the model would not read whole: what its outcomes call truncated."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import ModelError
from pipeline.prompts.prompt import Drop, SourcePrompt
from pipeline.records import DropReason

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


PROMPTS_AT_ONCE = 1024

# What a tokenizer without a length of its own has instead is larger than this by far.
_NO_LENGTH = 10**9


@dataclass(frozen=True, kw_only=True)
class TokenLimit:
    """A tokenizer, and how many tokens, special ones among them, its text encoder is given."""

    name: str
    """Its folder in the model."""
    counter: TokenCounter
    max_tokens: int


def token_limits(
    model: Path,
    text_limits: Mapping[str, int | None],
    names: Sequence[str] = (),
    max_tokens: int | None = None,
) -> list[TokenLimit]:
    """The limits of a model's tokenizers, of all by default, or of those named.

    ``text_limits`` are those of the model's family by folder, None where the tokenizer says it
    itself; ``max_tokens`` lowers each. Raises ``ModelError`` where there is no such tokenizer.
    """
    there = [name for name in text_limits if (model / name).is_dir()]
    if not there:
        raise ModelError(
            f"{model}: holds no tokenizer, by which prompts could be found too long; leave "
            "prompts.too_long out"
        )
    if strange := [name for name in names if name not in there]:
        raise ModelError(f"{model}: no tokenizer {strange[0]!r}; has {', '.join(there)}")
    return [_limit(model / name, text_limits[name], max_tokens) for name in names or there]


def drop_too_long(
    prompts: Sequence[SourcePrompt], limits: Sequence[TokenLimit]
) -> Iterator[Drop | None]:
    """Drop what no tokenizer lets through whole, as no text encoder then reads it whole."""
    for start in range(0, len(prompts), PROMPTS_AT_ONCE):
        texts = [prompt.text for prompt in prompts[start : start + PROMPTS_AT_ONCE]]
        lengths = [limit.counter.counts(texts) for limit in limits]
        for row in range(len(texts)):
            counts = [(limit, length[row]) for limit, length in zip(limits, lengths, strict=True)]
            is_cut = all(count > limit.max_tokens for limit, count in counts)
            said = "; ".join(
                f"{limit.name}: {n} tokens of {limit.max_tokens}" for limit, n in counts
            )
            yield Drop(reason=DropReason.TOO_LONG, detail=said) if is_cut else None


def _limit(folder: Path, of_family: int | None, max_tokens: int | None) -> TokenLimit:
    from transformers import AutoTokenizer  # a second, which nothing else here should cost

    from pipeline.models.diffusers.model_index import check_tokenizer

    check_tokenizer(folder)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, ImportError) as error:
        raise ModelError(f"{folder}: cannot be loaded as a tokenizer: {error}") from error
    own = of_family or tokenizer.model_max_length
    if max_tokens is None and own > _NO_LENGTH:
        raise ModelError(f"{folder}: tells no model_max_length; set prompts.max_tokens")
    longest = own if max_tokens is None else min(own, max_tokens)
    return TokenLimit(name=folder.name, counter=TokenCounter(tokenizer), max_tokens=int(longest))
