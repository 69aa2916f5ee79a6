"""Evaluation of the shipped models: the figures of the model card.

All prompts and pictures are from held-out object combinations. B batch, C latent channels, H W
height and width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from rich.table import Table
from torch import Tensor

from jobs.demo_models.data import Pictures, demo_prompts, render_pictures
from jobs.demo_models.reward import corrupt
from jobs.demo_models.vae import reconstruct
from pipeline.config.proposers import RedenoiseSettings
from pipeline.demo.drawing import render
from pipeline.demo.oracle import SceneOracle
from pipeline.demo.scene_reward import SceneReward
from pipeline.demo.scenes import caption
from pipeline.diffusion.denoiser import EncodedPrompts
from pipeline.diffusion.noise import source_noise
from pipeline.diffusion.redenoise import redenoise
from pipeline.diffusion.sample import sample_latents
from pipeline.models.diffusers.denoiser import DiffusersDenoiser

NUM_STEPS = 20
"""Number of DDIM steps of every measured picture."""

BATCH = 64


def noises(count: int, first_seed: int, shape: Sequence[int]) -> Tensor:
    """Return source noises of consecutive seeds, (count, C, H, W)."""
    return torch.stack([source_noise(first_seed + i, shape) for i in range(count)])


def sample_images(
    denoiser: DiffusersDenoiser, prompts: EncodedPrompts, x_T: Tensor, guidance_scale: float
) -> Tensor:
    """Sample one picture for each prompt and noise, uint8 (B, H, W, 3)."""
    images = []
    for rows in _batches(len(x_T)):
        latents = sample_latents(denoiser, prompts.take(rows), x_T[rows], NUM_STEPS, guidance_scale)
        pixels = (denoiser.decode(latents) * 255).round().to(torch.uint8)
        images.append(pixels.permute(0, 2, 3, 1).cpu())
    return torch.cat(images)


def golden_noises(
    denoiser: DiffusersDenoiser,
    prompts: EncodedPrompts,
    x_T: Tensor,
    settings: RedenoiseSettings,
) -> Tensor:
    """Return the golden noise of each source noise, shaped like ``x_T``."""
    parts = [
        redenoise(denoiser, prompts.take(rows), x_T[rows], settings).latents
        for rows in _batches(len(x_T))
    ]
    return torch.cat(parts)


def _batches(count: int) -> list[list[int]]:
    rows = list(range(count))
    return [rows[start : start + BATCH] for start in range(0, count, BATCH)]


GUIDANCE_SCALES = (1.0, 2.0, 3.0, 5.5, 8.0)
"""Guidance scales at which standard noise is sampled."""

CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A measured number with its name and target."""

    name: str
    value: float
    target: str = ""


def evaluate_models(model: Path, reward_folder: Path, count: int, seed: int) -> list[Figure]:
    """Measure all figures of the folders ``model`` and ``reward_folder``, on ``count`` prompts.

    Raises ModelError for a folder that cannot be used.
    """
    reward = SceneReward.load(reward_folder, CPU)
    denoiser = DiffusersDenoiser.load(model, device=CPU, dtype=torch.float32)
    # The scenes of this pictures use a separate random stream, so they are never training scenes.
    pictures = render_pictures(4 * count, seed, held_out=True)
    return [
        *oracle_figures(pictures, "renders", ".98"),
        *oracle_figures(reconstruct(load_vae(model), pictures), "reconstructions", ".95"),
        Figure(
            name="reward: right on held-out pairs",
            value=pair_accuracy(reward, pictures, seed),
            target=".87",
        ),
        *generation_figures(denoiser, reward, count),
    ]


def evaluation_table(figures: list[Figure]) -> Table:
    """Return the figures as a printable table."""
    table = Table("figure", "value", "target", title="Demo models, held-out combinations")
    for figure in figures:
        table.add_row(figure.name, f"{figure.value:.3f}", figure.target)
    return table


def oracle_figures(pictures: Pictures, what: str, target: str) -> list[Figure]:
    """Return soft and strict oracle scores of pictures whose captions are known to be true."""
    oracle, images = SceneOracle(), torch.from_numpy(pictures.images)
    captions = [caption(scene) for scene in pictures.scenes]
    soft, strict = oracle.score(captions, images), oracle.strict(captions, images)
    return [
        Figure(name=f"oracle on {what}, soft", value=float(soft.mean()), target=target),
        Figure(name=f"oracle on {what}, strict", value=float(strict.mean())),
    ]


def pair_accuracy(reward: SceneReward, pictures: Pictures, seed: int) -> float:
    """Return how often the reward prefers the right picture to that of a corrupted scene."""
    rng = np.random.default_rng([seed, 3])
    captions = [caption(scene) for scene in pictures.scenes]
    worse = np.stack([render(corrupt(scene, rng), rng) for scene in pictures.scenes])
    better_scores = reward.score(captions, torch.from_numpy(pictures.images))
    return float((better_scores > reward.score(captions, torch.from_numpy(worse))).float().mean())


def generation_figures(
    denoiser: DiffusersDenoiser, reward: SceneReward, count: int
) -> list[Figure]:
    """Return, for each guidance scale, the oracle on standard noise and the reward's agreement."""
    prompts = demo_prompts(count)
    encoded = denoiser.encode_prompts(prompts)
    x_T = noises(count, 0, denoiser.latent_shape)
    oracle, figures, judged = SceneOracle(), [], []
    for scale in GUIDANCE_SCALES:
        images = sample_images(denoiser, encoded, x_T, scale)
        scores = torch.stack([reward.score(prompts, images), oracle.score(prompts, images)])
        judged.append(scores)
        figures += [
            Figure(
                name=f"standard noise, guidance {scale:g}: oracle, soft",
                value=float(scores[1].mean()),
                target=".60" if scale == 5.5 else "",
            ),
            Figure(
                name=f"standard noise, guidance {scale:g}: oracle, strict",
                value=float(oracle.strict(prompts, images).mean()),
            ),
            Figure(
                name=f"correlation of reward and oracle, guidance {scale:g}",
                value=correlation(scores),
            ),
        ]
    mixed = Figure(
        name="correlation of reward and oracle, all scales mixed",
        value=correlation(torch.cat(judged, dim=1)),
        target=".5",
    )
    return [*figures, mixed]


def correlation(scores: Tensor) -> float:
    """Return Pearson's r of the two rows of ``scores`` (2, n)."""
    return float(torch.corrcoef(scores.double())[0, 1])


def load_vae(model: Path) -> AutoencoderKL:
    """Load the autoencoder of a pipeline folder, in float32."""
    vae = AutoencoderKL.from_pretrained(model / "vae", local_files_only=True)
    return vae.float().eval().requires_grad_(False)
