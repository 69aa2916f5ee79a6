"""Training of the preference model, with a hard negative for every caption.

The loss is the sum of three: InfoNCE over all captions and pictures of a batch, Bradley-Terry on
(better, worse) pictures of one caption, and naming the objects in each picture. The last one
teaches the picture encoder its objects early; Bradley-Terry alone hardly learns to bind them.

All labels come from the rendered scenes. The oracle is not used.
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

from jobs.demo_models.data import Pictures
from jobs.demo_models.fit import Draws, StageCallback, StageSettings, fit
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

KINDS = [(colour, shape) for colour in COLOURS for shape in SHAPES]


def train_reward(
    pictures: Pictures, settings: StageSettings, *, folder: Path, seed: int, report: StageCallback
) -> SceneReward:
    """Train on pictures against freshly drawn worse ones; write ``folder/reward``."""
    torch.manual_seed(seed)
    model = DualEncoder(vocabulary_size(WORDS))
    naming = nn.Linear(EMBEDDING, len(KINDS))

    def loss_of(draws: Draws, batch_size: int) -> Tensor:
        rows = draws.numpy.integers(len(pictures), size=batch_size)
        better = [pictures.scenes[row] for row in rows]
        worse = [corrupt(scene, draws.numpy) for scene in better]
        drawn = np.stack([render(scene, draws.numpy) for scene in worse])
        images = torch.from_numpy(np.concatenate([pictures.images[rows], drawn]))
        features, seen = model.embed_images(weather(as_model_pixels(images), draws))
        captions = model.embed_captions(word_ids([caption(scene) for scene in better], WORDS))
        logits = model.log_scale.exp() * captions @ seen.T
        named = binary_cross_entropy_with_logits(naming(features), presence(better + worse))
        return contrast(logits) + bradley_terry(logits) + 4.0 * named

    both = nn.ModuleDict({"model": model, "naming": naming})
    fit("reward", both, loss_of, settings, folder=folder, seed=seed, report=report)
    reward = SceneReward(model, WORDS)
    reward.save(folder / "reward")
    return SceneReward.load(folder / "reward", torch.device("cpu"))


def contrast(logits: Tensor) -> Tensor:
    """InfoNCE of ``logits`` (B, 2B): captions against the B right, then the B worse pictures."""
    rows = torch.arange(len(logits))
    return (cross_entropy(logits, rows) + cross_entropy(logits[:, : len(rows)].T, rows)) / 2


def bradley_terry(logits: Tensor) -> Tensor:
    """Return −log P(better is preferred to worse) for the same (B, 2B) logits."""
    rows = torch.arange(len(logits))
    return -logsigmoid(logits[rows, rows] - logits[rows, rows + len(rows)]).mean()


def presence(scenes: list[Scene]) -> Tensor:
    """Return the kinds of object in each scene, float32 (B, 48) of zeros and ones."""
    rows = [[float(kind in {thing.kind for thing in s.things}) for kind in KINDS] for s in scenes]
    return torch.tensor(rows)


def corrupt(scene: Scene, rng: np.random.Generator) -> Scene:
    """Return a scene that the caption of ``scene`` describes worse.

    Some words differ, an object is added or missing, or the scene is another one. A training scene
    becomes a training scene.
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
    """Add blur, fading and grain of random strength: sampled pictures are not as clean."""
    count = len(pixels)
    blurred = avg_pool2d(pad(pixels, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    pixels = pixels.lerp(blurred, 0.8 * draws.uniform(count, 1, 1, 1))
    faded = (pixels + 1.0) * (1.05 - 0.35 * draws.uniform(count, 1, 1, 1)) - 1.0
    grain = 0.12 * draws.uniform(count, 1, 1, 1) * draws.normal(*pixels.shape)
    return (faded + grain).clamp(-1.0, 1.0)


def _other_number(scene: Scene, rng: np.random.Generator) -> Scene:
    """Remove an object or add one."""
    if scene.other:
        return Scene(scene.subject if rng.random() < 0.5 else scene.other)
    if scene.count > 1:
        return replace(scene, count=scene.count - 1)
    other = Thing(COLOURS[rng.integers(len(COLOURS))], SHAPES[rng.integers(len(SHAPES))])
    return Scene(scene.subject, 1, "and", other) if other.kind != scene.subject.kind else scene
