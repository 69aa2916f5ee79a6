"""LoRAs: low-rank changes of a model's weights, fused into them when the model is loaded.

Fused LoRAs add no cost to a forward evaluation, and the network has one set of weights.
SDXL-Lightning and LCM come in this form.

diffusers finds the layer for each pair of factors. The strength of a pair is read from the file,
because diffusers loses it for some layers. Every fused weight is checked against the file.

Libraries rename layers, split fused ones (query, key and value), and multiply factors by
constants. So a layer is recognised by its factors, up to a constant. r rank.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft.tuners.lora import LoraLayer as AdaptedLayer
from torch import Tensor, nn

from pipeline.core.errors import ModelError
from pipeline.core.untrusted_files import check_file
from pipeline.models.diffusers.components import some
from pipeline.models.diffusers.declarations import refuse_other_architecture
from pipeline.models.diffusers.lora_file import LoraLayer, read_lora
from pipeline.models.diffusers.resolved_model import ResolvedModel

_ADAPTER = "fused"

_ROUNDED = 1e-2
"""Largest relative difference between factors when one of them was rounded to 16 bits."""

_EXACT = 1e-3
"""Largest relative difference at which a measured ratio counts as equal to the expected one."""

_SAMPLED = 64
"""Number of leading values that are compared first; they differ for most pairs of layers."""

_ULPS = 8
"""Largest accepted difference between a fused weight and the computed one, in roundings."""


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Position of a network layer's factors in a LoRA file."""

    layer: LoraLayer
    """Layer of the file."""
    start: int
    """First row within the file's B."""
    rows: int
    """Number of rows of B."""
    ratio: float
    """B · A of the network's layer, divided by that of the file."""

    def scaling(self, current: float) -> float:
        """Return the factor for B · A that gives the file's strength.

        Return ``current`` itself if it differs from that only by rounding.
        """
        wanted = self.layer.strength / self.ratio
        is_measured = self.ratio != 1.0
        return current if is_measured and abs(current / wanted - 1) < _EXACT else wanted


def fuse_loras(pipe: Any, model: ResolvedModel) -> None:
    """Fuse the LoRAs of ``model`` into the weights of its pipeline, in the type of the pipeline.

    Raises ``ModelError`` for a missing file, for layers that the pipeline does not have, and if a
    weight does not become W + scale · α / r · B · A.
    """
    for lora, files in zip(model.config.loras, model.loras, strict=True):
        file = _file(files.place)
        refuse_other_architecture(pipe, file)
        layers = read_lora(file)
        _load(pipe, file)
        # All layers are placed before the first one is fused, so a LoRA that does not fit is
        # rejected while the weights are unchanged.
        adapted = list(_adapted(pipe))
        placements = [_placement(name, layer, layers, file) for name, layer in adapted]
        _refuse_left_out(placements, layers, file, pipe)
        for (name, layer), placement in zip(adapted, placements, strict=True):
            _fuse(name, layer, placement, lora.scale, file)
        # Removes the adapters. The fused weights stay, and the next LoRA starts from them.
        pipe.unload_lora_weights()


def _load(pipe: Any, file: Path) -> None:
    if not hasattr(pipe, "load_lora_weights"):
        raise ModelError(f"{file}: diffusers has no LoRAs for a {type(pipe).__name__}")
    try:
        pipe.load_lora_weights(
            str(file.parent),
            weight_name=file.name,
            adapter_name=_ADAPTER,
            local_files_only=True,
            use_safetensors=True,
        )
    except (
        AttributeError,
        IndexError,
        KeyError,
        OSError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        raise ModelError(
            f"{file}: cannot be loaded as a LoRA of {type(pipe).__name__}: {error}"
        ) from error


def _adapted(pipe: Any) -> Iterator[tuple[str, AdaptedLayer]]:
    """Yield name and module of each layer for which diffusers found a pair of factors."""
    for component, module in pipe.components.items():
        if isinstance(module, nn.Module):
            for path, layer in module.named_modules():
                if isinstance(layer, AdaptedLayer):
                    yield f"{component}.{path}", layer


def _placement(
    name: str, layer: AdaptedLayer, layers: Sequence[LoraLayer], file: Path
) -> Placement:
    if _ADAPTER not in layer.lora_A:
        raise ModelError(
            f"{file}: {name} is not a layer whose change can be computed from the file"
        )
    factors: list[Any] = [layer.lora_A[_ADAPTER], layer.lora_B[_ADAPTER]]
    down, up = (factor.weight.detach() for factor in factors)
    placement = place(name, down, up, layers)
    if placement is None:
        raise ModelError(
            f"{file}: the factors that diffusers gives {name} match no layer of the file, or "
            "several layers of different strength; merge this LoRA into the model with the tool "
            "that it was made for"
        )
    return placement


def _refuse_left_out(
    placements: Sequence[Placement], layers: Sequence[LoraLayer], file: Path, pipe: Any
) -> None:
    """Raise ``ModelError`` for layers of the file that were not placed completely."""
    # A fused layer of the file (query, key and value) is placed in parts, so rows are counted.
    rows = dict.fromkeys((layer.name for layer in layers), 0)
    for placement in placements:
        rows[placement.layer.name] += placement.rows
    left_out = [layer.name for layer in layers if rows[layer.name] != len(layer.up)]
    if left_out:
        raise ModelError(
            f"{file}: {len(left_out)} of {len(layers)} layers of this LoRA have no place in "
            f"{type(pipe).__name__}: {some(left_out)}; it was made for "
            "another model, or has a format that diffusers does not read"
        )


def _fuse(name: str, layer: AdaptedLayer, placement: Placement, scale: float, file: Path) -> None:
    """Merge one layer with the strength that the file gives, and check the resulting weight."""
    # diffusers loses the alpha of some layers, so its scaling is replaced where it differs.
    layer.scaling[_ADAPTER] = placement.scaling(layer.scaling[_ADAPTER])
    base: Any = layer.get_base_layer()
    before = base.weight.detach().clone()
    if scale != 1.0:
        layer.scale_layer(scale)
    layer.merge(adapter_names=[_ADAPTER])
    if not is_changed_by(change(placement, scale, before.shape), before, base.weight, placement):
        raise ModelError(
            f"{file}: fusing did not change {name} by scale · alpha / rank · up · down; the file "
            "may hold numbers that are not finite"
        )


def _file(place: Path) -> Path:
    """Return the LoRA file at a place, which is the file or a folder with only one."""
    if place.is_file() and place.suffix == ".safetensors":
        return place
    if place.is_dir():
        found = sorted(place.glob("*.safetensors"))
        if len(found) == 1:
            check_file(found[0], ModelError, place)
            return found[0]
        raise ModelError(
            f"{place}: {len(found)} .safetensors files here; set file in [[model.loras]] to one of "
            "them"
        )
    check_file(place, ModelError)
    raise ModelError(f"{place}: a LoRA is a .safetensors file, not a pickle")


def place(name: str, down: Tensor, up: Tensor, layers: Sequence[LoraLayer]) -> Placement | None:
    """Find the factors of the layer ``name`` among the layers of a file.

    Return None if there are none, or several that would change the layer differently.
    """
    found = [placement for layer in layers for placement in _places(down, up, layer)]
    if len(found) > 1:
        # Several layers may have equal factors, for example untrained ones. Names decide then.
        found = [each for each in found if _is_called(name, each.layer.name)] or found
    return found[0] if len({(each.layer.strength, each.ratio) for each in found}) == 1 else None


def change(placement: Placement, scale: float, shape: torch.Size) -> Tensor:
    """Compute scale · α / r · B · A from the file, in float32 and in the ``shape`` of a weight."""
    layer, end = placement.layer, placement.start + placement.rows
    product = layer.up[placement.start : end].flatten(1).float() @ layer.down.flatten(1).float()
    return (scale * layer.strength * product).view(shape)


def is_changed_by(delta: Tensor, before: Tensor, after: Tensor, placement: Placement) -> bool:
    """Return True if ``after`` is ``before`` + ``delta`` up to rounding in the weights' type."""
    eps = torch.finfo(after.dtype).eps
    if placement.ratio != 1.0:
        # The library multiplied the factors in the file's type, which may be the coarser one.
        eps = max(eps, torch.finfo(placement.layer.down.dtype).eps)
    expected = before.float() + delta
    terms = before.float().abs() + delta.abs().max()
    return bool(((after.detach().float() - expected).abs() <= _ULPS * eps * terms).all())


def _places(down: Tensor, up: Tensor, layer: LoraLayer) -> list[Placement]:
    if down.shape != layer.down.shape or up.shape[1:] != layer.up.shape[1:]:
        return []
    beginnings = (tensor.flatten()[:_SAMPLED] for tensor in (down, layer.down))
    # Most layers already differ in their first values, so the full comparison is rarely needed.
    if _ratio(*beginnings) is None:
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
    """Return the rows of ``fused`` at which ``up`` may start, up to a constant factor."""
    last = len(fused) - len(up)
    if last <= 0:
        return [0] if last == 0 else []
    rows = fused[: last + 1].flatten(1).float()
    first = up[0].flatten().float()
    similar = torch.nn.functional.cosine_similarity(rows, first[None]) > 1 - _ROUNDED
    # A row of zeros has no direction, so it may start anywhere.
    return [int(row) for row in similar.nonzero()] if first.any() else list(range(last + 1))


def _ratio(ours: Tensor, theirs: Tensor) -> float | None:
    """Return the positive number c with ours = c · theirs, or None if there is none."""
    a, b = ours.float(), theirs.float()
    square = float((b * b).sum())
    if square == 0:
        return 1.0 if not a.any() else None
    # Least squares: the best c is a·b / b·b. It is accepted if the residual is only rounding.
    ratio = float((a * b).sum()) / square
    is_multiple = ratio > 0 and float((a - ratio * b).norm()) <= _ROUNDED * float(a.norm())
    return ratio if is_multiple else None


def _snapped(ratio: float) -> float:
    return 1.0 if abs(ratio - 1) < _EXACT else ratio


def _is_called(name: str, in_file: str) -> bool:
    """Return True if a file's layer name and a pipeline's agree up to prefixes and separators."""
    ours, theirs = (re.sub(r"text_model|processor|\W|_", "", each) for each in (name, in_file))
    component = re.sub(r"\W|_", "", name.partition(".")[0])
    return theirs.endswith(ours.removeprefix(component))
