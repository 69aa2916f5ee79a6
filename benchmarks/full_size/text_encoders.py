"""Text encoders in their published sizes with random weights, and tokenizers of single letters.

Prompts are padded, so the network receives the usual number of tokens for any prompt.
"""

from string import ascii_lowercase
from typing import Any

from transformers import (
    BertConfig,
    BertModel,
    BertTokenizer,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

Encoder = tuple[Any, Any]
"""A network and its tokenizer."""


def clip_l(*, projection: bool = False) -> Encoder:
    """Return OpenAI's CLIP ViT-L/14, with 123 M parameters."""
    return clip(projection, width=768, layers=12, heads=12, activation="quick_gelu")


def clip_g() -> Encoder:
    """Return OpenCLIP's ViT-bigG/14, with 695 M parameters."""
    return clip(True, width=1280, layers=32, heads=20, activation="gelu")


def t5_xxl() -> Encoder:
    """Return the encoder of T5 1.1 XXL, with 4.8 G parameters."""
    return _t5(32128, width=4096, feed_forward=10240, heads=64)


def mt5_xl() -> Encoder:
    """Return the encoder of mT5-XL, with 1.7 G parameters."""
    return _t5(250112, width=2048, feed_forward=5120, heads=32)


def bert() -> Encoder:
    """Return Hunyuan's bilingual CLIP, which is a BERT with 352 M parameters."""
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *ascii_lowercase]
    pieces += [f"##{letter}" for letter in ascii_lowercase]
    tokenizer = BertTokenizer(
        vocab={piece: i for i, piece in enumerate(pieces)}, model_max_length=77
    )
    config = BertConfig(
        vocab_size=47020,
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        max_position_embeddings=512,
    )
    return BertModel(config), tokenizer


def clip(projection: bool, *, width: int, layers: int, heads: int, activation: str) -> Encoder:
    """Return a text encoder of CLIP with other sizes, with or without its projection."""
    tokens = [*ascii_lowercase, *(f"{x}</w>" for x in ascii_lowercase)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(
        vocab={token: i for i, token in enumerate(tokens)}, merges=[], model_max_length=77
    )
    config = CLIPTextConfig(
        vocab_size=49408,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        projection_dim=width,
        hidden_act=activation,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = CLIPTextModelWithProjection(config) if projection else CLIPTextModel(config)
    return model, tokenizer


def _t5(vocabulary: int, *, width: int, feed_forward: int, heads: int) -> Encoder:
    pieces = ["<pad>", "</s>", "<unk>", "▁", *ascii_lowercase]
    scored = [(piece, -float(rank)) for rank, piece in enumerate(pieces)]
    config = T5Config(
        vocab_size=vocabulary,
        d_model=width,
        d_kv=64,
        d_ff=feed_forward,
        num_layers=24,
        num_heads=heads,
        feed_forward_proj="gated-gelu",
    )
    return T5EncoderModel(config), T5Tokenizer(vocab=scored, extra_ids=0)
