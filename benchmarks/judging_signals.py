"""Measure how well cheaper signals foretell which pairs win, with the demo's model.

    python -m benchmarks.judging_signals [--candidates 1024] [--out signals.npz]

A candidate is judged in full: both images take all steps, and the selecting reward scores them. Its
gain is compared with three cheaper signals:

steps       the gain of images that are sampled with fewer steps
screen      the gain of the clean images that the network predicts after m of the steps
predictor   a ridge regression on what is known without any image: the prompt's embedding, both
            noises, their statistics, and the guidance gap |ε_c − ε_u| while proposing. It is
            fitted and tested on different prompts (five folds).

For the screen, the threshold is the one that keeps 95% of the winners of the same candidates, which
flatters it. ``saved`` is the share of all evaluations of a candidate that it saves.
"""

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy import stats
from torch import Tensor

from pipeline.config.file import BUNDLED, load_config
from pipeline.config.proposers import RedenoiseSettings
from pipeline.core.determinism import be_deterministic
from pipeline.core.identity import prompt_id
from pipeline.core.records import Candidate, Split
from pipeline.diffusion.denoiser import Conditioning, Denoiser, EncodedPrompts
from pipeline.diffusion.guidance import guided_prediction
from pipeline.diffusion.noise import as_model_input, noise_stats, stored
from pipeline.diffusion.redenoise import redenoise
from pipeline.diffusion.sample import sample_latents
from pipeline.diffusion.schedule import NoiseLevel, denoise_step
from pipeline.diffusion.wrapped_denoiser import WrappedDenoiser
from pipeline.models.load import load_denoiser, load_rewards
from pipeline.models.resolved_models import ResolvedModels
from pipeline.models.reward import Reward
from pipeline.stages.propose import draw_source_noise
from pipeline.stages.sample import decode_images

Values = npt.NDArray[np.float64]

STEPS = 20
FEWER = (3, 5, 10)
AFTER = (2, 4, 6, 10)
RECALL = 0.95
SETTINGS = RedenoiseSettings(
    num_inference_steps=10, num_steps=5, guidance_scale=4.0, inversion_guidance_scale=1.0
)
MAKING = 15
"""Evaluations that make a golden noise: five steps down with guidance, five back without."""

_BATCH = 32
_FOLDS = 5
_RIDGE = 100.0
_RESAMPLES = 300


class _GapDenoiser(WrappedDenoiser):
    """Adds up the distance between both predictions of each guided step."""

    def __init__(self, inner: Denoiser) -> None:
        super().__init__(inner)
        self.gaps: list[Tensor] = []

    def predict(self, latents: Tensor, timestep: float, conditioning: Conditioning) -> Tensor:
        output = self.inner.predict(latents, timestep, conditioning)
        unconditional, conditional = output.chunk(2)
        # Two predictions of the same latents are one guided step.
        first, second = latents.chunk(2)
        if first.shape == second.shape and torch.equal(first, second):
            self.gaps.append((conditional - unconditional).flatten(1).norm(dim=1))
        return output


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--candidates", type=int, default=1024)
    parser.add_argument("--out", type=Path, help="also write all gains and features")
    options = parser.parse_args()
    be_deterministic()
    config = load_config("demo")
    models = ResolvedModels(config)
    denoiser = load_denoiser(models.model, torch.device("cpu"))
    reward = load_rewards(models.rewards, torch.device("cpu"))["scene"]
    lines = (BUNDLED / "train_prompts.txt").read_text(encoding="utf-8").splitlines()
    prompts = np.random.default_rng(0).permutation(lines)[: options.candidates].tolist()
    rows = []
    for start in range(0, len(prompts), _BATCH):
        with torch.inference_mode():
            rows.append(_measure(denoiser, reward, prompts[start : start + _BATCH], start))
    table = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    if options.out is not None:
        # By numpy's annotation, a name could be that of an option.
        np.savez_compressed(options.out, allow_pickle=False, **table)
    _print(table)


def _measure(
    denoiser: Denoiser, reward: Reward, prompts: Sequence[str], first: int
) -> dict[str, Values]:
    candidates = [
        Candidate(
            index=first + row,
            prompt=prompt,
            prompt_id=prompt_id(prompt),
            split=Split.TRAIN,
            seed=first + row,
        )
        for row, prompt in enumerate(prompts)
    ]
    encoded = denoiser.encode_prompts(prompts)
    source = draw_source_noise(candidates, denoiser.latent_shape)
    gap = _GapDenoiser(denoiser)
    golden = stored(redenoise(gap, encoded, as_model_input(source), SETTINGS).latents)

    def gain(latents: Sequence[Tensor]) -> Values:
        before, after = (
            reward.score(list(prompts), decode_images(denoiser, each).pixels) for each in latents
        )
        return np.asarray((after - before).double().numpy())

    noises = [as_model_input(noise) for noise in (source, golden)]
    runs = [_with_predictions(denoiser, encoded, noise) for noise in noises]
    found = {"full": gain([run[-1] for run in runs])}
    for index, after in enumerate(AFTER):
        found[f"after {after}"] = gain([run[index] for run in runs])
    for fewer in FEWER:
        found[f"{fewer} steps"] = gain(
            [sample_latents(denoiser, encoded, noise, fewer, 1.0) for noise in noises]
        )
    found["features"] = _features(encoded, source, golden, torch.stack(gap.gaps, dim=1))
    return found


def _with_predictions(denoiser: Denoiser, encoded: EncodedPrompts, noise: Tensor) -> list[Tensor]:
    """Return the clean latents predicted after each of ``AFTER`` steps, and the final ones."""
    schedule = denoiser.schedule(STEPS)
    clean = NoiseLevel(signal=1.0, noise=0.0)
    latents, found = noise, []
    for step, timestep in enumerate(schedule.timesteps):
        output = guided_prediction(denoiser, latents, timestep, encoded, 1.0)
        if step + 1 in AFTER:
            level = schedule.levels[step]
            found.append(denoise_step(latents, output, level, clean, schedule.prediction))
        latents = schedule.denoise(latents, output, step)
    return [*found, latents]


def _features(encoded: EncodedPrompts, source: Tensor, golden: Tensor, gaps: Tensor) -> Values:
    parts = [encoded.embeds.flatten(1).float().cpu(), gaps.cpu()]
    before, after = source.float(), golden.float()
    measured = [noise_stats(one, other) for one, other in zip(source, golden, strict=True)]
    parts.append(torch.tensor([[*vars(each).values()] for each in measured if each is not None]))
    for noise in (before, after - before):
        # Means over quarters of each axis keep the places of objects.
        parts.append(torch.nn.functional.avg_pool2d(noise, 2).flatten(1))
    return torch.cat(parts, dim=1).double().numpy()


def _print(table: dict[str, Values]) -> None:
    full = table["full"]
    wins = full > 0
    print(f"{len(full)} candidates, {wins.mean():.1%} win")
    for name in (f"{fewer} steps" for fewer in FEWER):
        low, high = _interval(table[name], full)
        agree = ((table[name] > 0) == wins).mean()
        print(
            f"steps      {name:9} rank correlation {_rank(table[name], full):.3f} "
            f"[{low:.3f}, {high:.3f}], same decision {agree:.1%}"
        )
    total = MAKING + 2 * STEPS
    for after in AFTER:
        partial = table[f"after {after}"]
        threshold = np.quantile(partial[wins], 1 - RECALL)
        dropped = (partial < threshold).mean()
        saved = dropped * 2 * (STEPS - after) / total
        print(
            f"screen     after {after:2} of {STEPS}: rank correlation {_rank(partial, full):.3f}, "
            f"{dropped:.1%} dropped at {RECALL:.0%} recall, {saved:.1%} saved "
            f"(at most {(1 - wins.mean()) * 2 * (STEPS - after) / total:.1%})"
        )
    predicted = _predicted(table["features"], full)
    half = predicted > np.median(predicted)
    print(
        f"predictor  rank correlation {_rank(predicted, full):.3f}, "
        f"AUC {_auc(predicted, wins):.3f}, the better half wins {wins[half].mean():.1%}, "
        f"the other {wins[~half].mean():.1%}"
    )
    for low, high in ((0, 25), (25, 50), (50, 75), (75, 100)):
        edges = np.percentile(predicted, [low, high])
        inside = (predicted >= edges[0]) & (predicted <= edges[1])
        print(
            f"           quarter {low}–{high}%: predicted gain {predicted[inside].mean():+.2f}, "
            f"measured {full[inside].mean():+.2f}"
        )


def _predicted(features: Values, gains: Values) -> Values:
    """Return the prediction of each gain by a regression on the other folds."""
    scaled = (features - features.mean(axis=0)) / (features.std(axis=0) + 1e-9)
    fold = np.arange(len(gains)) % _FOLDS
    predicted = np.empty_like(gains)
    for held in range(_FOLDS):
        inputs, targets = scaled[fold != held], gains[fold != held]
        centre = targets.mean()
        normal = inputs.T @ inputs + _RIDGE * np.eye(inputs.shape[1])
        weights = np.linalg.solve(normal, inputs.T @ (targets - centre))
        predicted[fold == held] = scaled[fold == held] @ weights + centre
    return predicted


def _rank(one: Values, other: Values) -> float:
    return float(stats.spearmanr(one, other).statistic)


def _interval(one: Values, other: Values) -> tuple[float, float]:
    random = np.random.default_rng(0)
    drawn = (random.integers(len(one), size=len(one)) for _ in range(_RESAMPLES))
    low, high = np.quantile([_rank(one[rows], other[rows]) for rows in drawn], [0.025, 0.975])
    return float(low), float(high)


def _auc(scores: Values, wins: npt.NDArray[np.bool_]) -> float:
    """Return the chance that a winner is scored higher than a loser."""
    statistic = stats.mannwhitneyu(scores[wins], scores[~wins]).statistic
    return float(statistic / (wins.sum() * (~wins).sum()))


if __name__ == "__main__":
    main()
