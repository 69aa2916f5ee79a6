"""Recorded results of the authors' code; see reference/README.md."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.models.rewards.reference.subjects import weight

_FOLDER = Path(__file__).parent / "reference"


@cache
def _record() -> dict[str, Any]:
    record: dict[str, Any] = json.loads((_FOLDER / "recorded.json").read_text("utf-8"))
    return record


def scores(name: str) -> Tensor:
    """Return the recorded score of each prompt with its image."""
    return torch.tensor(_record()["scores"][name])


def tokens(name: str) -> dict[str, Any]:
    """Return the ids of the prompts, and the part of the vocabulary that they need."""
    found: dict[str, Any] = _record()["tokens"][name]
    return found


@cache
def _arrays() -> dict[str, Any]:
    with np.load(_FOLDER / "recorded.npz") as file:
        return dict(file)


def pixels(name: str) -> dict[tuple[int, int], Tensor]:
    """Return the pixels (3, 32, 32) of a preprocessing, by height and width of the image."""
    found = {}
    for key, value in _arrays().items():
        way, _, shape = key.partition(" ")
        if way == name:
            height, width = map(int, shape.split("x"))
            found[height, width] = torch.from_numpy(value)
    return found


def layout(name: str) -> dict[str, tuple[int, ...]]:
    """Return names and shapes in a published checkpoint."""
    layouts = json.loads(_arrays()["layouts"].tobytes())
    return {key: tuple(shape) for key, shape in layouts[name].items()}


def weights(name: str) -> dict[str, Tensor]:
    """Return the checkpoint of the recorded reference, under its published names."""
    return {
        key: torch.from_numpy(weight(key, shape))
        for key, shape in layout(name).items()
        if not key.endswith("position_ids")
    }
