"""The preference model: contrast with the whole batch, and a hard negative for every caption.

Three losses together: InfoNCE over all captions and pictures of a batch, Bradley-Terry on
(better, worse) pictures of one caption, and naming the objects that are in each picture. The last
one gives the picture encoder its words early; Bradley-Terry alone hardly learns to bind them.

All labels come from the scenes that were drawn; the oracle has no part in it.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import (
    avg_pool2d,
    binary_cross_entropy_with_logits,
    cross_entropy,
    logsigmoid,
    pad,
)

from pipeline.demo.drawing import render
from pipeline.demo.scene_reward import (
    EMBEDDING,
    DualEncoder,
    SceneReward,
    as_model_pixels,
    vocabulary_size,
    word_ids,
)
from pipeline.demo.scenes import (
    COLOURS,
    SHAPES,
    WORDS,
    Scene,
    Thing,
    caption,
    draw_scene,
    is_held_out,
    redraw_word,
)
from pipeline.demo.training.fit import Draws, Report, fit
from pipeline.demo.training.pool import Pool
from pipeline.demo.training.recipe import Schedule

KINDS = [(colour, shape) for colour in COLOURS for shape in SHAPES]


def train_reward(
    pool: Pool, schedule: Schedule, *, folder: Path, seed: int, report: Report
) -> SceneReward:
    """Train on the pool's pictures against freshly drawn worse ones; write ``folder/reward``."""
    torch.manual_seed(seed)
    model = DualEncoder(vocabulary_size(WORDS))
    naming = nn.Linear(EMBEDDING, len(KINDS))

    def loss_of(draws: Draws, batch_size: int) -> Tensor:
        rows = draws.numpy.integers(len(pool), size=batch_size)
        better = [pool.scenes[row] for row in rows]
        worse = [corrupt(scene, draws.numpy) for scene in better]
        drawn = np.stack([render(scene, draws.numpy) for scene in worse])
        images = torch.from_numpy(np.concatenate([pool.images[rows], drawn]))
        features, seen = model.embed_images(weather(as_model_pixels(images), draws))
        said = model.embed_captions(word_ids([caption(scene) for scene in better], WORDS))
        logits = model.log_scale.exp() * said @ seen.T
        named = binary_cross_entropy_with_logits(naming(features), presence(better + worse))
        return contrast(logits) + bradley_terry(logits) + 4.0 * named

    both = nn.ModuleDict({"model": model, "naming": naming})
    fit("reward", both, loss_of, schedule, folder=folder, seed=seed, report=report)
    reward = SceneReward(model, WORDS)
    reward.save(folder / "reward")
    return SceneReward.load(folder / "reward", torch.device("cpu"))


def contrast(logits: Tensor) -> Tensor:
    """InfoNCE: ``logits`` (B, 2B) of captions against their own pictures, then the worse ones."""
    own = torch.arange(len(logits))
    return (cross_entropy(logits, own) + cross_entropy(logits[:, : len(own)].T, own)) / 2


def bradley_terry(logits: Tensor) -> Tensor:
    """−log P(better beats worse) for the same (B, 2B) logits."""
    own = torch.arange(len(logits))
    return -logsigmoid(logits[own, own] - logits[own, own + len(own)]).mean()


def presence(scenes: list[Scene]) -> Tensor:
    """Which of the 48 kinds of object are in each scene, float32 (B, 48) of zeros and ones."""
    rows = [[float(kind in {thing.kind for thing in s.things}) for kind in KINDS] for s in scenes]
    return torch.tensor(rows)


def corrupt(scene: Scene, rng: np.random.Generator) -> Scene:
    """A scene that ``scene``'s caption describes worse: some words off, an object more or less,
    or another scene altogether. That of a training scene is a training scene.
    """
    fate = rng.random()
    if fate < 0.15:
        worse = draw_scene(rng, held_out=is_held_out(scene))
    elif fate < 0.3:
        worse = _other_number(scene, rng)
    else:
        worse = scene
        for _ in range(rng.integers(1, 4)):
            worse = redraw_word(worse, rng)
    allowed = is_held_out(scene) or not is_held_out(worse)
    return worse if allowed and worse != scene else corrupt(scene, rng)


def weather(pixels: Tensor, draws: Draws) -> Tensor:
    """Blur, fade and grain of random strength, because sampled pictures are never as clean."""
    count = len(pixels)
    blurred = avg_pool2d(pad(pixels, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    pixels = pixels.lerp(blurred, 0.8 * draws.uniform(count, 1, 1, 1))
    faded = (pixels + 1.0) * (1.05 - 0.35 * draws.uniform(count, 1, 1, 1)) - 1.0
    grain = 0.12 * draws.uniform(count, 1, 1, 1) * draws.normal(*pixels.shape)
    return (faded + grain).clamp(-1.0, 1.0)


def _other_number(scene: Scene, rng: np.random.Generator) -> Scene:
    """One object less, or one more."""
    if scene.other:
        return Scene(scene.subject if rng.random() < 0.5 else scene.other)
    if scene.count > 1:
        return replace(scene, count=scene.count - 1)
    other = Thing(COLOURS[rng.integers(len(COLOURS))], SHAPES[rng.integers(len(SHAPES))])
    return Scene(scene.subject, 1, "and", other) if other.kind != scene.subject.kind else scene
