"""Tiny random text encoders and their tokenizers, of the classes that real models have."""

from string import ascii_lowercase
from typing import Any

from transformers import (
    BertConfig,
    BertModel,
    BertTokenizer,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
    UMT5Config,
    UMT5EncoderModel,
)

from tests.models.diffusers.tiny import TEXT_LENGTH, tiny_tokenizer

WIDTH = 32


def clip(
    *, projection: bool = False
) -> tuple[CLIPTextModel | CLIPTextModelWithProjection, PreTrainedTokenizerBase]:
    tokenizer = tiny_tokenizer()
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=TEXT_LENGTH,
        projection_dim=WIDTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = CLIPTextModelWithProjection(config) if projection else CLIPTextModel(config)
    return model.eval(), tokenizer


def t5(
    *, multilingual: bool = False, width: int = WIDTH
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Return a T5 encoder, and a tokenizer with one token for each letter."""
    pieces = ["<pad>", "</s>", "<unk>", "▁", *ascii_lowercase]
    scored = [(piece, -float(rank)) for rank, piece in enumerate(pieces)]
    tokenizer = T5Tokenizer(vocab=scored, extra_ids=0)
    sizes: dict[str, Any] = {
        "vocab_size": len(pieces),
        "d_model": width,
        "d_kv": 8,
        "d_ff": 2 * width,
        "num_layers": 2,
        "num_heads": 2,
    }
    if multilingual:
        return UMT5EncoderModel(UMT5Config(**sizes)).eval(), tokenizer
    return T5EncoderModel(T5Config(**sizes)).eval(), tokenizer


def bert() -> tuple[BertModel, PreTrainedTokenizerBase]:
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *ascii_lowercase]
    pieces += [f"##{letter}" for letter in ascii_lowercase]
    tokenizer = BertTokenizer(
        vocab={piece: i for i, piece in enumerate(pieces)}, model_max_length=77
    )
    config = BertConfig(
        vocab_size=len(pieces),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=77,
    )
    return BertModel(config).eval(), tokenizer
