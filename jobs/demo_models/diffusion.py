"""Training of the diffusion model: tokenizer, text encoder and UNet, on noisy captions.

The tokenizer has CLIP's byte-pair format, so any text can be tokenised, and transformers and
diffusers load the folder like that of Stable Diffusion. The merges are made for the grammar: a
caption has as many tokens as words and fits into 16 positions.

UNet and text encoder are trained together. Some captions are wrong on purpose, like the web
captions of real models: three in ten belong to another picture, three in ten have one word redrawn.
With clean captions such a small model follows its prompt without guidance, and golden noise has
nothing to add. With noisy captions it needs guidance, as real models do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from jobs.demo_models.fit import Draws, StageCallback, StageSettings, fit
from pipeline.demo.scenes import WORDS, Scene, caption, redraw_word

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


LATENT_SIDE = 8
SWAPPED_SHARE = 0.3
"""Share of the captions that belong to a random other picture."""
REDRAWN_SHARE = 0.3
"""Share of the captions with one word redrawn."""
DROPPED_SHARE = 0.1
"""Share of the captions that are empty, which trains the unconditional model."""
MAX_SNR = 5.0
"""Cap of min-SNR weighting (Hang et al. 2023, arXiv 2303.09556)."""


@dataclass(frozen=True)
class DiffusionModel:
    """The networks that are trained together, with their tokenizer and scheduler."""

    unet: UNet2DConditionModel
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    scheduler: DDIMScheduler


def new_diffusion_model(seed: int) -> DiffusionModel:
    """Return an untrained model: 2.8 M parameters in the UNet, 0.7 M in the text encoder."""
    torch.manual_seed(seed)
    tokenizer = new_tokenizer()
    unet = UNet2DConditionModel(
        sample_size=LATENT_SIDE,
        block_out_channels=(64, 96),
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
    )
    return DiffusionModel(
        unet.to(memory_format=torch.channels_last),
        new_text_encoder(tokenizer),
        tokenizer,
        new_scheduler(),
    )


def new_scheduler() -> DDIMScheduler:
    """Return the noise schedule of Stable Diffusion."""
    return DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        steps_offset=1,
        clip_sample=False,
        set_alpha_to_one=False,
        prediction_type="epsilon",
    )


def train_diffusion(
    latents: Tensor,
    scenes: list[Scene],
    settings: StageSettings,
    *,
    folder: Path,
    seed: int,
    report: StageCallback,
) -> DiffusionModel:
    """Train on scaled ``latents`` (n, 4, 8, 8) of pictures of ``scenes``."""
    model = new_diffusion_model(seed)
    alphas_cumprod = model.scheduler.alphas_cumprod

    def loss_of(draws: Draws, batch_size: int) -> Tensor:
        rows = draws.numpy.integers(len(scenes), size=batch_size)
        ids = tokenize(model.tokenizer, noisy_captions(scenes, rows, draws.numpy))
        timesteps = torch.from_numpy(draws.numpy.integers(len(alphas_cumprod), size=batch_size))
        eps = draws.normal(batch_size, *latents.shape[1:])
        alpha = alphas_cumprod[timesteps].view(-1, 1, 1, 1)
        noisy = alpha.sqrt() * latents[rows] + (1.0 - alpha).sqrt() * eps
        predicted = model.unet(noisy, timesteps, model.text_encoder(ids)[0]).sample
        error = (predicted - eps).square().mean((1, 2, 3))
        loss: Tensor = (min_snr_weight(alpha.flatten()) * error).mean()
        return loss

    both = nn.ModuleDict({"unet": model.unet, "text_encoder": model.text_encoder})
    fit("diffusion", both, loss_of, settings, folder=folder, seed=seed, report=report)
    return model


def min_snr_weight(alphas_cumprod: Tensor) -> Tensor:
    """Return the weight of the squared error of eps at each noise level: min(SNR, 5) / SNR."""
    snr = alphas_cumprod / (1.0 - alphas_cumprod)
    return snr.clamp(max=MAX_SNR) / snr


def noisy_captions(
    scenes: list[Scene], rows: np.ndarray[tuple[int], np.dtype[np.int64]], rng: np.random.Generator
) -> list[str]:
    """Return a caption for each of ``rows``: the right one, swapped, redrawn or empty."""
    return [_noisy_caption(scenes, int(row), rng) for row in rows]


def _noisy_caption(scenes: list[Scene], row: int, rng: np.random.Generator) -> str:
    if rng.random() < DROPPED_SHARE:
        return ""
    fate = rng.random()
    if fate < SWAPPED_SHARE:
        return caption(scenes[rng.integers(len(scenes))])
    if fate < SWAPPED_SHARE + REDRAWN_SHARE:
        return caption(redraw_word(scenes[row], rng))
    return caption(scenes[row])
