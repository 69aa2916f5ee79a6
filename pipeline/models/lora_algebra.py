"""The algebra of LoRAs: which of a file's layers a fused layer has, and how its weight must change.

Libraries rename layers, split one that is fused (query, key and value), and multiply factors by
numbers. So a layer is recognised by its factors, up to a number. r rank.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.models.lora_file import LoraLayer

_ROUNDED = 1e-2
"""Largest relative difference of factors that were rounded to 16 bits on the way."""

_EXACT = 1e-3
"""A measured ratio that is as near to the expected one is taken for it."""

_SAMPLED = 64
"""Numbers that tell most factors apart."""

_ULPS = 8
"""Roundings that may lie between a fused weight and the one computed from the file."""


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where in a file the factors of a fused layer come from."""

    layer: LoraLayer
    start: int
    """First row of the file's B."""
    rows: int
    ratio: float
    """By how much B · A is larger than in the file."""

    def scaling(self, current: float) -> float:
        """What B · A must be multiplied with; ``current`` where it is that but for rounding."""
        wanted = self.layer.strength / self.ratio
        is_measured = self.ratio != 1.0
        return current if is_measured and abs(current / wanted - 1) < _EXACT else wanted


def place(name: str, down: Tensor, up: Tensor, layers: Sequence[LoraLayer]) -> Placement | None:
    """Return the place of the factors of the layer ``name`` in a file.

    None where there is none, or several that would change the layer differently.
    """
    found = [placement for layer in layers for placement in _places(down, up, layer)]
    if len(found) > 1:
        # Layers with equal factors, such as untrained ones: by name.
        found = [each for each in found if _is_called(name, each.layer.name)] or found
    return found[0] if len({(each.layer.strength, each.ratio) for each in found}) == 1 else None


def change(placement: Placement, scale: float, shape: torch.Size) -> Tensor:
    """scale · α / r · B · A from the numbers in the file, float32, in the ``shape`` of a weight."""
    layer, end = placement.layer, placement.start + placement.rows
    product = layer.up[placement.start : end].flatten(1).float() @ layer.down.flatten(1).float()
    return (scale * layer.strength * product).view(shape)


def is_changed_by(delta: Tensor, before: Tensor, after: Tensor, placement: Placement) -> bool:
    """Return whether ``after`` is ``before`` + ``delta`` but for rounding in the weights' type."""
    eps = torch.finfo(after.dtype).eps
    if placement.ratio != 1.0:  # factors were multiplied in the type of the file
        eps = max(eps, torch.finfo(placement.layer.down.dtype).eps)
    expected = before.float() + delta
    terms = before.float().abs() + delta.abs().max()
    return bool(((after.detach().float() - expected).abs() <= _ULPS * eps * terms).all())


def _places(down: Tensor, up: Tensor, layer: LoraLayer) -> list[Placement]:
    if down.shape != layer.down.shape or up.shape[1:] != layer.up.shape[1:]:
        return []
    beginnings = (tensor.flatten()[:_SAMPLED] for tensor in (down, layer.down))
    if _ratio(*beginnings) is None:  # most differ there already
        return []
    down_ratio = _ratio(down, layer.down)
    if down_ratio is None:
        return []
    rows = len(up)
    places = []
    for start in _starts(up, layer.up):
        up_ratio = _ratio(up, layer.up[start : start + rows])
        if up_ratio is not None:
            ratio = _snapped(down_ratio) * _snapped(up_ratio)
            places.append(Placement(layer=layer, start=start, rows=rows, ratio=_snapped(ratio)))
    return places


def _starts(up: Tensor, fused: Tensor) -> list[int]:
    """Rows of ``fused`` that are a multiple of the first row of ``up``."""
    last = len(fused) - len(up)
    if last <= 0:
        return [0] if last == 0 else []
    rows = fused[: last + 1].flatten(1).float()
    first = up[0].flatten().float()
    similar = torch.nn.functional.cosine_similarity(rows, first[None]) > 1 - _ROUNDED
    return [int(row) for row in similar.nonzero()] if first.any() else list(range(last + 1))


def _ratio(ours: Tensor, theirs: Tensor) -> float | None:
    """The number c with ours = c · theirs, or None."""
    a, b = ours.float(), theirs.float()
    square = float((b * b).sum())
    if square == 0:
        return 1.0 if not a.any() else None
    ratio = float((a * b).sum()) / square
    is_multiple = ratio > 0 and float((a - ratio * b).norm()) <= _ROUNDED * float(a.norm())
    return ratio if is_multiple else None


def _snapped(ratio: float) -> float:
    return 1.0 if abs(ratio - 1) < _EXACT else ratio


def _is_called(name: str, in_file: str) -> bool:
    """Return whether a file's name of a layer is that of a pipeline's, however they are joined."""
    ours, theirs = (re.sub(r"text_model|processor|\W|_", "", each) for each in (name, in_file))
    component = re.sub(r"\W|_", "", name.partition(".")[0])
    return theirs.endswith(ours.removeprefix(component))
