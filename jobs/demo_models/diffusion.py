"""Training of the diffusion model: UNet and text encoder together, on noisy captions.

Some captions are wrong on purpose, like the web captions of real models: three in ten belong to
another picture, three in ten have one word redrawn. With clean captions such a small model follows
its prompt without guidance, and golden noise has nothing to add. With noisy captions it needs
guidance, as real models do.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from jobs.demo_models.fit import Draws, Report, fit
from jobs.demo_models.recipe import Schedule
from jobs.demo_models.text import WIDTH, new_text_encoder, new_tokenizer, tokenize
from jobs.demo_models.untyped import Scheduler, UNet, diffusers
from pipeline.demo.scenes import Scene, caption, redraw_word

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

    unet: UNet
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    scheduler: Scheduler


def new_diffusion_model(seed: int) -> DiffusionModel:
    """Return an untrained model: 2.8 M parameters in the UNet, 0.7 M in the text encoder."""
    torch.manual_seed(seed)
    tokenizer = new_tokenizer()
    unet = diffusers.UNet2DConditionModel(
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


def new_scheduler() -> Scheduler:
    """Return the noise schedule of Stable Diffusion."""
    return diffusers.DDIMScheduler(
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
    schedule: Schedule,
    *,
    folder: Path,
    seed: int,
    report: Report,
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
    fit("diffusion", both, loss_of, schedule, folder=folder, seed=seed, report=report)
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
