"""Tokenizer and text encoder of the demo: a CLIP tokenizer with one token per grammar word.

The format is CLIP's byte-pair encoding, so any text can be tokenised, and transformers and
diffusers load the folder like that of Stable Diffusion. The merges are made for the grammar: a
caption has as many tokens as words and fits into 16 positions.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from pipeline.demo.scenes import WORDS

LENGTH = 16
"""Number of token positions, including start and end; the longest caption needs 12."""

WIDTH = 128
"""Width of the token embeddings that the UNet attends to."""

START, END = "<|startoftext|>", "<|endoftext|>"
END_OF_WORD = "</w>"


def new_tokenizer() -> CLIPTokenizer:
    """Return a tokenizer with one token per grammar word and single bytes for other text."""
    merges = word_merges(WORDS)
    alphabet = _byte_alphabet()
    tokens = [*alphabet, *(letter + END_OF_WORD for letter in alphabet)]
    tokens += [left + right for left, right in merges]
    tokens += [START, END]
    tokenizer: Any = CLIPTokenizer  # The annotations of transformers do not allow merges as pairs.
    made: CLIPTokenizer = tokenizer(
        vocab={token: index for index, token in enumerate(tokens)},
        merges=merges,
        unk_token=END,
        bos_token=START,
        eos_token=END,
        pad_token=END,
        model_max_length=LENGTH,
    )
    return made


def word_merges(words: Sequence[str]) -> list[tuple[str, str]]:
    """Return byte-pair merges, in order of rank, that make every word one token.

    A later merge cannot change an earlier word, because all merges of that word outrank it.
    """
    ranks: dict[tuple[str, str], int] = {}
    for word in words:
        while len(pieces := _apply(ranks, [*word[:-1], word[-1] + END_OF_WORD])) > 1:
            ranks[pieces[0], pieces[1]] = len(ranks)
    return list(ranks)


def tokenize(tokenizer: CLIPTokenizer, prompts: Sequence[str]) -> Tensor:
    """Return token ids, int64 (B, LENGTH), padded with the end token and truncated."""
    encoded = tokenizer(list(prompts), padding="max_length", truncation=True, max_length=LENGTH)
    return torch.tensor(encoded["input_ids"])


def new_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Return an untrained text encoder with 3 layers and 0.7 M parameters."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=4 * WIDTH,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=LENGTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            projection_dim=WIDTH,
        )
    )


def _apply(ranks: dict[tuple[str, str], int], pieces: list[str]) -> list[str]:
    """Encode one word: merge the best-ranked neighbours until none can be merged."""
    while True:
        known = [(ranks[pair], pair) for pair in pairwise(pieces) if pair in ranks]
        if not known:
            return pieces
        best = min(known)[1]
        merged: list[str] = []
        for piece in pieces:
            if merged and (merged[-1], piece) == best:
                merged[-1] += piece
            else:
                merged.append(piece)
        pieces = merged


def _byte_alphabet() -> list[str]:
    """Return the printable characters that GPT-2 and CLIP use for the 256 bytes, in order."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + i) for i in range(len(others))]
