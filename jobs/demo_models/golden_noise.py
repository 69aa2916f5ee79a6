"""Comparison of golden noise settings on the demo model: a table of the model card.

The table includes two controls: an independent second seed, because a filter picks winners by
construction, and plain guidance at other scales, which also spends more evaluations.
"""

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from rich.table import Table
from torch import Tensor

from jobs.demo_models.data import demo_prompts
from jobs.demo_models.evaluate import golden_noises, noises, sample_images
from pipeline.config.proposers import RedenoiseSettings
from pipeline.core.records import NoiseStats
from pipeline.demo.oracle import SceneOracle
from pipeline.demo.scene_reward import SceneReward
from pipeline.diffusion.denoiser import EncodedPrompts
from pipeline.diffusion.noise import noise_stats
from pipeline.evaluate.compare import Gain, compare
from pipeline.evaluate.document import percent, signed
from pipeline.models.diffusers.denoiser import DiffusersDenoiser

SECOND_SEED = 10_000
"""First seed of the noises of the control."""


@dataclass(frozen=True, kw_only=True)
class GoldenNoiseSetting:
    """Settings of golden noise with a guidance scale of sampling."""

    name: str
    guidance_scale: float
    """Guidance W at which both pictures are sampled."""
    redenoise: RedenoiseSettings | None
    """Settings of re-denoising; None for an independent noise instead of a golden one."""


def _zigzag(steps: int, of: int, high: float) -> RedenoiseSettings:
    return RedenoiseSettings(num_inference_steps=of, num_steps=steps, guidance_scale=high)


SETTINGS = (
    GoldenNoiseSetting(name="3→1, 10 of 20", guidance_scale=1.0, redenoise=_zigzag(10, 20, 3.0)),
    GoldenNoiseSetting(name="5.5→1, 1 of 10", guidance_scale=1.0, redenoise=_zigzag(1, 10, 5.5)),
    GoldenNoiseSetting(name="independent seed (control)", guidance_scale=1.0, redenoise=None),
    GoldenNoiseSetting(name="3→1, 10 of 20", guidance_scale=2.0, redenoise=_zigzag(10, 20, 3.0)),
    GoldenNoiseSetting(
        name="5.5→1, 1 of 10 (published form)", guidance_scale=5.5, redenoise=_zigzag(1, 10, 5.5)
    ),
)


@dataclass(frozen=True, kw_only=True)
class SettingResult:
    """Row of the table."""

    setting: GoldenNoiseSetting
    reward: Gain
    """Gain of the golden pictures under the reward, over pictures of the source noise."""
    oracle: Gain
    std: float
    """Mean standard deviation of the golden noises."""
    kurtosis: float
    """Mean excess kurtosis of the golden noises."""
    relative_change: float


def compare_settings(model: Path, reward_folder: Path, count: int) -> list[SettingResult]:
    """Compare all settings on ``count`` held-out prompts, with one source noise each.

    Raises ModelError for a folder that cannot be used.
    """
    cpu = torch.device("cpu")
    denoiser = DiffusersDenoiser.load(model, device=cpu, dtype=torch.float32)
    reward, oracle = SceneReward.load(reward_folder, cpu), SceneOracle()
    prompts = demo_prompts(count)
    encoded = denoiser.encode_prompts(prompts)
    source = noises(count, 0, denoiser.latent_shape)
    judged: dict[float, Tensor] = {}

    def judge(x_T: Tensor, guidance_scale: float) -> Tensor:
        images = sample_images(denoiser, encoded, x_T, guidance_scale)
        return torch.stack([reward.score(prompts, images), oracle.score(prompts, images)])

    rows = []
    for setting in SETTINGS:
        scale = setting.guidance_scale
        # Images from source noise depend only on the guidance scale, so settings share them.
        if scale not in judged:
            judged[scale] = judge(source, scale)
        golden = _golden_of(setting, denoiser, encoded, source)
        rows.append(_result(setting, prompts, judged[scale], judge(golden, scale), source, golden))
    return rows


def settings_table(rows: list[SettingResult], count: int) -> Table:
    """Return the rows as a printable table."""
    columns = ("W", "golden noise", "wins", "reward gain", "oracle", "gain", "std", "kurtosis")
    table = Table(*columns, title=f"Golden noise on the demo model, n = {count}, 95% intervals")
    for row in rows:
        table.add_row(
            f"{row.setting.guidance_scale:g}",
            row.setting.name,
            percent(row.reward.wins),
            signed(row.reward.gain, digits=2),
            f"{row.oracle.standard:.3f} → {row.oracle.other:.3f}",
            signed(row.oracle.gain),
            f"{row.std:.3f}",
            f"{row.kurtosis:+.3f}",
        )
    return table


def _golden_of(
    setting: GoldenNoiseSetting,
    denoiser: DiffusersDenoiser,
    prompts: EncodedPrompts,
    source: Tensor,
) -> Tensor:
    if setting.redenoise is None:
        return noises(len(source), SECOND_SEED, denoiser.latent_shape)
    return golden_noises(denoiser, prompts, source, setting.redenoise)


def _result(
    setting: GoldenNoiseSetting,
    prompts: list[str],
    before: Tensor,
    after: Tensor,
    source: Tensor,
    golden: Tensor,
) -> SettingResult:
    """Return a row from rewards and oracle scores (2, n) and noises (n, C, H, W)."""
    reward, oracle = (
        compare(one.double().numpy(), other.double().numpy(), np.array(prompts))
        for one, other in zip(before, after, strict=True)
    )
    assert reward is not None and oracle is not None, "there is at least one prompt"
    stats = [_finite_stats(x, y) for x, y in zip(source, golden, strict=True)]
    return SettingResult(
        setting=setting,
        reward=reward,
        oracle=oracle,
        std=fmean([one.std for one in stats]),
        kurtosis=fmean([one.kurtosis for one in stats]),
        relative_change=fmean([one.relative_change for one in stats]),
    )


def _finite_stats(source: Tensor, golden: Tensor) -> NoiseStats:
    stats = noise_stats(source, golden)
    assert stats is not None, "every setting of the table leaves the demo model's noise finite"
    return stats
