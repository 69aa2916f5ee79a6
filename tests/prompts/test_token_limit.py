"""Token limits against the demo's text encoder, and token counts against those of tokenizers."""

import json
import shutil
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from pipeline.config.file import BUNDLED
from pipeline.core.errors import ModelError
from pipeline.prompts.token_limit import TokenCounter, drop_too_long, token_limits
from tests.prompts.reading import prompts_of
from tests.sealed import demo_models

BOTH = {"tokenizer": None, "tokenizer_2": None}
TEXTS = [
    "a red ring",
    "a small blue circle above a large green square and a red ring",
    "a red ring " * 20,
    *("a " * count for count in range(12, 18)),
]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model's tokenizers: the demo's, and the same with more room."""
    shutil.copytree(BUNDLED / "model" / "tokenizer", tmp_path / "tokenizer")
    shutil.copytree(BUNDLED / "model" / "tokenizer", tmp_path / "tokenizer_2")
    _set_length(tmp_path / "tokenizer_2", 32)
    return tmp_path


def _set_length(folder: Path, length: int | None) -> None:
    path = folder / "tokenizer_config.json"
    settings = {**json.loads(path.read_text()), "model_max_length": length}
    path.write_text(json.dumps({k: v for k, v in settings.items() if v is not None}))


def test_too_long_is_what_the_model_would_mark_as_truncated() -> None:
    drops = list(
        drop_too_long(prompts_of(TEXTS), token_limits(BUNDLED / "model", {"tokenizer": None}))
    )
    encoded = demo_models()[0].encode_prompts(TEXTS)
    assert [drop is not None for drop in drops] == list(encoded.truncated)
    assert {True, False} == {*encoded.truncated}


def test_too_long_says_by_which_tokenizer_and_how_many(model: Path) -> None:
    texts = ["a " * 12, "a " * 20, "a " * 40]
    drops = list(drop_too_long(prompts_of(texts), token_limits(model, BOTH)))
    # Each word is a token, and there is one at the beginning and one at the end.
    assert [drop and drop.detail for drop in drops] == [
        None,
        None,  # the second one does not truncate it
        "tokenizer: 42 tokens of 16; tokenizer_2: 42 tokens of 32",
    ]


def test_limits_of_the_tokenizers_that_are_named(model: Path) -> None:
    assert [limit.max_tokens for limit in token_limits(model, BOTH)] == [16, 32]
    family = {
        "tokenizer": 10,
        "tokenizer_2": None,
        "tokenizer_3": 256,
    }  # no tokenizer_3
    assert [limit.max_tokens for limit in token_limits(model, family)] == [10, 32]
    assert [limit.name for limit in token_limits(model, BOTH, ["tokenizer_2"])] == ["tokenizer_2"]
    assert [limit.max_tokens for limit in token_limits(model, BOTH, max_tokens=20)] == [16, 20]
    with pytest.raises(ModelError, match="no tokenizer 'tokenizer_3'; has tokenizer, tokenizer_2"):
        token_limits(model, BOTH, ["tokenizer_3"])


def test_limits_without_a_tokenizer_or_its_length_are_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="has no tokenizer"):
        token_limits(tmp_path / "elsewhere", BOTH)
    _set_length(model / "tokenizer_2", None)
    with pytest.raises(ModelError, match="has no model_max_length; set"):
        token_limits(model, BOTH)
    assert [limit.max_tokens for limit in token_limits(model, BOTH, max_tokens=20)] == [16, 20]


def test_limits_of_a_damaged_tokenizer_are_refused(model: Path) -> None:
    (model / "tokenizer_2" / "tokenizer_config.json").write_text("{")
    with pytest.raises(ModelError, match=r"tokenizer_2/tokenizer_config\.json: not valid JSON"):
        token_limits(model, BOTH)


def test_tokenizer_that_cannot_be_used_is_refused(model: Path) -> None:
    path = model / "tokenizer_2" / "tokenizer.json"
    content = json.loads(path.read_text())
    content["model"] = {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "missing"}
    path.write_text(json.dumps(content))
    with pytest.raises(ModelError, match=r"tokenizer_2: .*cannot be (used|loaded)"):
        for limit in token_limits(model, BOTH, max_tokens=20):
            limit.counter.counts(["a red circle"])


def test_limits_of_a_tokenizer_without_words_are_refused(model: Path) -> None:
    for path in (model / "tokenizer_2").iterdir():
        if path.name != "tokenizer_config.json":
            path.unlink()
    with pytest.raises(ModelError, match="tokenizer_2: a tokenizer without a vocabulary"):
        token_limits(model, BOTH)


UNUSUAL_TEXTS = [
    *(BUNDLED / "prompts.txt").read_text(encoding="utf-8").splitlines()[:50],
    "it's the dog 's, isn't it ?!",
    "a<|endoftext|>b <|endoftext|> c",
    "ΟΔΥΣΣΕΥΣ ΣΑΣ café cafe\u0301 二つの円 👩‍🎨",
    "",
]


def _metaspace() -> PreTrainedTokenizerFast:
    """Return a tokenizer that, like T5's, keeps the space before a word as part of its token."""
    vocabulary = {"<unk>": 0, "▁": 1, "▁a": 2, "a": 3, "b": 4, "▁ab": 5}
    tokenizer = Tokenizer(models.BPE(vocabulary, [("▁", "a"), ("▁a", "b")], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


@pytest.mark.parametrize("kind", ["clip", "metaspace"])
def test_counts_are_those_of_the_tokenizer(kind: str) -> None:
    folder = BUNDLED / "model" / "tokenizer"
    tokenizer = AutoTokenizer.from_pretrained(folder) if kind == "clip" else _metaspace()
    counter = TokenCounter(tokenizer)
    texts = [*UNUSUAL_TEXTS, "ab b ab", "b ab"]
    expected = [len(tokenizer(text, verbose=False).input_ids) for text in texts]
    assert counter.counts(texts) == expected
    assert counter.counts(texts[::-1]) == expected[::-1], "a second time, with words remembered"
    assert len({*expected}) > 3
