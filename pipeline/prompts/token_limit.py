"""Filter for prompts that are longer than the model's text encoders can read."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import ModelError
from pipeline.core.records import DropReason
from pipeline.core.untrusted_patterns import panics_named
from pipeline.prompts.prompt import Drop, SourcePrompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PROMPTS_AT_ONCE = 1024

# Tokenizers without a maximum length report a much larger number than this.
_NO_LENGTH = 10**9


@dataclass(frozen=True, kw_only=True)
class TokenLimit:
    """A tokenizer and the maximum number of tokens that its text encoder receives."""

    name: str
    """Folder of the tokenizer in the model."""
    counter: "TokenCounter"
    max_tokens: int
    """Maximum number of tokens, special tokens included."""


def token_limits(
    model: Path,
    text_limits: Mapping[str, int | None],
    names: Sequence[str] = (),
    max_tokens: int | None = None,
) -> list[TokenLimit]:
    """Return the limits of the named tokenizers of a model, by default of all.

    ``text_limits`` maps the folder of each tokenizer to the limit of the model's family, or to None
    if the tokenizer defines the limit. ``max_tokens`` lowers each limit. Raise ``ModelError`` if a
    tokenizer is missing or cannot be loaded.
    """
    found = [name for name in text_limits if (model / name).is_dir()]
    if not found:
        raise ModelError(
            f"{model}: has no tokenizer, which is needed to find prompts that are too long; remove "
            "prompts.too_long"
        )
    if unknown := [name for name in names if name not in found]:
        raise ModelError(f"{model}: no tokenizer {unknown[0]!r}; has {', '.join(found)}")
    return [_limit(model / name, text_limits[name], max_tokens) for name in names or found]


def _limit(folder: Path, of_family: int | None, max_tokens: int | None) -> TokenLimit:
    from transformers import AutoTokenizer  # takes a second, only needed with a token limit

    from pipeline.models.diffusers.model_index import check_tokenizer

    check_tokenizer(folder)
    try:
        # Without an answer, transformers would ask on the terminal whether to run code.
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # for a damaged file, the tokenizers library raises Exception itself
        raise ModelError(f"{folder}: cannot be loaded as a tokenizer: {error}") from error
    limit = of_family or tokenizer.model_max_length
    if not isinstance(limit, int | float) or limit < 1:
        raise ModelError(
            f"{folder}: has model_max_length {limit!r}, which is not a number of tokens"
        )
    if max_tokens is None and limit > _NO_LENGTH:
        raise ModelError(f"{folder}: has no model_max_length; set prompts.max_tokens")
    longest = limit if max_tokens is None else min(limit, max_tokens)
    return TokenLimit(name=folder.name, counter=TokenCounter(tokenizer), max_tokens=int(longest))


def drop_too_long(
    prompts: Sequence[SourcePrompt], limits: Sequence[TokenLimit]
) -> Iterator[Drop | None]:
    """Drop prompts that every tokenizer truncates. The detail gives the numbers of tokens.

    If one of several tokenizers keeps a prompt intact, the model still reads all of it.
    """
    for start in range(0, len(prompts), PROMPTS_AT_ONCE):
        texts = [prompt.text for prompt in prompts[start : start + PROMPTS_AT_ONCE]]
        lengths = [limit.counter.counts(texts) for limit in limits]
        for row in range(len(texts)):
            counts = [(limit, length[row]) for limit, length in zip(limits, lengths, strict=True)]
            # The model reads the complete prompt if one of its text encoders does.
            is_truncated = all(count > limit.max_tokens for limit, count in counts)
            detail = "; ".join(
                f"{limit.name}: {n} tokens of {limit.max_tokens}" for limit, n in counts
            )
            yield Drop(reason=DropReason.TOO_LONG, detail=detail) if is_truncated else None


class TokenCounter:
    """Counts the tokens of prompts with a tokenizer of transformers, special tokens included.

    CLIP's tokenizer drops spaces and then processes each word separately. The tokens of a word are
    therefore counted once and cached, which takes a fifth of the time because prompts share words.
    If a tokenizer keeps spaces, as T5's does, complete prompts are counted.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase") -> None:
        self._tokenizer = tokenizer
        self._by_word = _drops_spaces(tokenizer)
        self._words: dict[str, int] = {}
        self._special: int = tokenizer.num_special_tokens_to_add()
        added = tokenizer.added_tokens_encoder
        self._inversions = any(f"{token}_1" in added for token in added)
        """True if a textual inversion has several vectors; pipelines expand its word."""

    def counts(self, prompts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each prompt."""
        if not self._by_word:
            return self._count(prompts, special=True)
        split = [prompt.split() for prompt in prompts]
        new = list({word for words in split for word in words} - self._words.keys())
        if new:
            self._words.update(zip(new, self._count(new, special=False), strict=True))
        return [self._special + sum(map(self._words.__getitem__, words)) for words in split]

    def _count(self, texts: Sequence[str], *, special: bool) -> list[int]:
        where = self._tokenizer.name_or_path
        with panics_named(where):
            try:
                encoded = self._tokenizer(
                    self._expanded(texts),
                    truncation=False,
                    verbose=False,
                    add_special_tokens=special,
                )
            except Exception as error:  # the tokenizers library raises Exception itself
                raise ModelError(f"{where}: the tokenizer cannot be used: {error}") from error
        return [len(ids) for ids in encoded["input_ids"]]

    def _expanded(self, texts: Sequence[str]) -> list[str]:
        """Return the texts as a pipeline passes them to its tokenizer."""
        if not self._inversions:
            return list(texts)
        # Imported here because it takes seconds.
        from diffusers.loaders.textual_inversion import TextualInversionLoaderMixin

        pipe: Any = TextualInversionLoaderMixin()  # has no types
        return [pipe.maybe_convert_prompt(text, self._tokenizer) for text in texts]


def _drops_spaces(tokenizer: "PreTrainedTokenizerBase") -> bool:
    """Return True if spaces are not part of any separately tokenized piece."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    splitter = None if backend is None else backend.pre_tokenizer
    if splitter is None:
        return False
    return [span for _, span in splitter.pre_tokenize_str("a b")] == [(0, 1), (2, 3)]
