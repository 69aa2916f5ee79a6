"""Token ids from the authors' tokenizers, and the parts of the vocabularies that they need.

Runs in the environment that ``__main__`` builds, as ``record`` does.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import clip
from hpsv2.src import open_clip
from hpsv2.src.open_clip.tokenizer import SimpleTokenizer, basic_clean
from ImageReward.models.BLIP.blip import init_tokenizer
from transformers import CLIPTokenizerFast  # type: ignore[attr-defined]  # in its older version

from tests.models.rewards.reference.subjects import PROMPTS


def bert_tokens() -> dict[str, Any]:
    """Return the ids that ImageReward reads, and the part of the vocabulary that they need."""
    tokenizer = init_tokenizer()
    ids = tokenizer(list(PROMPTS), padding="max_length", truncation=True, max_length=35).input_ids
    used = sorted({number for row in ids for number in row})
    words = tokenizer.convert_ids_to_tokens(used)
    return {"ids": ids, "vocabulary": dict(zip(words, used, strict=True))}


def clip_tokens() -> dict[str, Any]:
    """Return the ids of open_clip, OpenAI and transformers, with the vocabulary that they need."""
    tokenizer = SimpleTokenizer()
    ids = open_clip.tokenize(list(PROMPTS)).tolist()
    assert ids == clip.tokenize(list(PROMPTS), truncate=True).tolist()
    with tempfile.TemporaryDirectory() as folder:
        unmended = clip_tokenizer(Path(folder))(
            list(PROMPTS), padding="max_length", truncation=True, max_length=77
        ).input_ids
    texts = [text.lower() for prompt in PROMPTS for text in (prompt, basic_clean(prompt))]
    text = "".join(tokenizer.byte_encoder[byte] for byte in " ".join(texts).encode())
    merges = [merge for merge in tokenizer.bpe_ranks if "".join(merge).removesuffix("</w>") in text]
    words = [*list(tokenizer.encoder)[:512], *map("".join, merges)]
    vocabulary = {word: tokenizer.encoder[word] for word in words} | special_tokens(tokenizer)
    return {
        "mended_ids": ids,
        "ids": unmended,
        "merges": [" ".join(merge) for merge in merges],
        "vocabulary": vocabulary,
    }


def clip_tokenizer(folder: Path) -> CLIPTokenizerFast:
    """Return transformers' tokenizer of OpenAI's vocabulary."""
    tokenizer = SimpleTokenizer()
    words = list(tokenizer.encoder)[:-2]
    vocabulary = {word: tokenizer.encoder[word] for word in words} | special_tokens(tokenizer)
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    merges = "\n".join(" ".join(merge) for merge in tokenizer.bpe_ranks)
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}\n")
    return CLIPTokenizerFast(str(folder / "vocab.json"), str(folder / "merges.txt"))


def special_tokens(tokenizer: SimpleTokenizer) -> dict[str, int]:
    """Return the start and end tokens under transformers' names."""
    return {
        "<|startoftext|>": tokenizer.encoder["<start_of_text>"],
        "<|endoftext|>": tokenizer.encoder["<end_of_text>"],
    }
