"""Evaluation of the shipped models: the figures of the model card.

All prompts and pictures are from held-out object combinations.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.table import Table
from torch import Tensor

from jobs.demo_models.pool import Pool, render_pool
from jobs.demo_models.prompts import demo_prompts
from jobs.demo_models.reward import corrupt
from jobs.demo_models.sampling import noises, sample_images
from jobs.demo_models.untyped import Autoencoder, diffusers
from jobs.demo_models.vae import reconstruct
from pipeline.demo.drawing import render
from pipeline.demo.oracle import SceneOracle
from pipeline.demo.scene_reward import SceneReward
from pipeline.demo.scenes import caption
from pipeline.models.diffusers.denoiser import DiffusersDenoiser

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
    # The scenes of this pool use a separate random stream, so they are never training scenes.
    pool = render_pool(4 * count, seed, held_out=True)
    return [
        *oracle_figures(pool, "renders", ".98"),
        *oracle_figures(reconstruct(load_vae(model), pool), "reconstructions", ".95"),
        Figure(
            name="reward: right on held-out pairs",
            value=pair_accuracy(reward, pool, seed),
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


def oracle_figures(pool: Pool, what: str, target: str) -> list[Figure]:
    """Return soft and strict oracle scores of pictures whose captions are known to be true."""
    oracle, images = SceneOracle(), torch.from_numpy(pool.images)
    captions = [caption(scene) for scene in pool.scenes]
    soft, strict = oracle.score(captions, images), oracle.strict(captions, images)
    return [
        Figure(name=f"oracle on {what}, soft", value=float(soft.mean()), target=target),
        Figure(name=f"oracle on {what}, strict", value=float(strict.mean())),
    ]


def pair_accuracy(reward: SceneReward, pool: Pool, seed: int) -> float:
    """Return how often the reward prefers the right picture to that of a corrupted scene."""
    rng = np.random.default_rng([seed, 3])
    captions = [caption(scene) for scene in pool.scenes]
    worse = np.stack([render(corrupt(scene, rng), rng) for scene in pool.scenes])
    better_scores = reward.score(captions, torch.from_numpy(pool.images))
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


def load_vae(model: Path) -> Autoencoder:
    """Load the autoencoder of a pipeline folder, in float32."""
    vae = diffusers.AutoencoderKL.from_pretrained(model / "vae", local_files_only=True)
    return vae.float().eval().requires_grad_(False)
