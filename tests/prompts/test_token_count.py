"""Counts of tokens word by word against those of whole prompts."""

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from pipeline.config.file import BUNDLED
from pipeline.prompts.token_count import TokenCounter

TEXTS = [
    *(BUNDLED / "prompts.txt").read_text(encoding="utf-8").splitlines()[:50],
    "it's the dog 's, isn't it ?!",
    "a<|endoftext|>b <|endoftext|> c",
    "ΟΔΥΣΣΕΥΣ ΣΑΣ café cafe\u0301 二つの円 👩‍🎨",
    "",
]


def _metaspace() -> PreTrainedTokenizerFast:
    """As T5's: a space belongs to the word behind it, and some pieces are longer with it."""
    vocabulary = {"<unk>": 0, "▁": 1, "▁a": 2, "a": 3, "b": 4, "▁ab": 5}
    tokenizer = Tokenizer(models.BPE(vocabulary, [("▁", "a"), ("▁a", "b")], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


@pytest.mark.parametrize("kind", ["clip", "metaspace"])
def test_counts_are_those_of_the_tokenizer(kind: str) -> None:
    folder = BUNDLED / "model" / "tokenizer"
    tokenizer = AutoTokenizer.from_pretrained(folder) if kind == "clip" else _metaspace()
    counter = TokenCounter(tokenizer)
    texts = [*TEXTS, "ab b ab", "b ab"]
    expected = [len(tokenizer(text, verbose=False).input_ids) for text in texts]
    assert counter.counts(texts) == expected
    assert counter.counts(texts[::-1]) == expected[::-1], "a second time, with words remembered"
    assert len({*expected}) > 3
