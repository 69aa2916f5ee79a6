"""Prompts, images, sizes and weights that the reference and our rewards are compared on.

Images and weights are made from names and numbers.

The reference environment imports it too, so it needs only numpy.
"""

import hashlib
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

PROMPTS = (
    "a red cube on a blue sphere, photorealistic",
    "A cat’s “portrait”, oil on canvas; they’ll love it",
    "naïve café in 日本, night 🌃",
    "an astronaut &amp; a horse, HDR!!! (masterpiece:1.2), [[soft light]], 8K",
    "very " * 50 + "detailed castle " * 30,
    "",
    "don't stop, they're two dogs — 12345 of them",
    "unbelievably hyperdetailed antidisestablishmentarianism",
)
"""Prompts with curly quotes, entities, accents and other scripts, an empty one and a long one."""

ODD, LARGE, SQUARE = (151, 149), (300, 400), (224, 224)
"""Heights and widths. The first becomes 227 x 224, whose centre lies between two pixels."""

BLIP_SIZES: dict[str, dict[str, Any]] = {
    "vision": {
        "hidden_size": 64,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    },
    "text": {
        "hidden_size": 32,
        "encoder_hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    },
}
"""Sizes of a small ImageReward. All others are as published."""

CLIP_TEXT: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "projection_dim": 32,
}
CLIP_VISION: dict[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "projection_dim": 32,
    "patch_size": 14,
}
"""A small CLIP, as transformers counts."""


def images(shape: tuple[int, int] = ODD, count: int = len(PROMPTS)) -> npt.NDArray[np.uint8]:
    """Return images, uint8 (count, H, W, 3): each has another colour, with noise on it."""
    bits = _bits(f"images {shape}", count * prod(shape) * 3).view(np.uint8)
    noise = bits[: count * prod(shape) * 3].reshape(count, *shape, 3)
    colours = _bits("colours", count * 3).view(np.uint8)[: count * 3].reshape(count, 1, 1, 3)
    return (noise // 3 + colours // 3 * 2).astype(np.uint8)


def weight(name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Return a parameter that follows from its published name, scaled so that signals stay."""
    count = prod(shape)
    uniform = (_bits(name, count)[:count] / 2.0**31 - 1).astype(np.float32).reshape(shape)
    if name.endswith("logit_scale"):
        return np.asarray(2.0 + uniform, np.float32)
    if len(shape) < 2:
        return uniform * np.float32(0.1) + np.float32(name.endswith("weight"))
    return uniform * np.float32((3 / prod(shape[1:])) ** 0.5)


def _bits(name: str, count: int) -> npt.NDArray[np.uint32]:
    """Return at least ``count`` raw values: numpy never changes those of a bit generator."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    return np.asarray(np.random.PCG64(seed).random_raw((count + 1) // 2)).view(np.uint32)
