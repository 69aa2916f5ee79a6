"""LoRAs: low-rank changes of a model's weights, fused into them when the model is loaded.

Fused LoRAs add no cost to a forward evaluation, and the network has one set of weights.
SDXL-Lightning and LCM come in this form.

diffusers finds the layer for each pair of factors. The strength of a pair is read from the file,
because diffusers loses it for some layers. Every fused weight is checked against the file.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from peft.tuners.lora import LoraLayer as AdaptedLayer
from torch import nn

from pipeline.config.model import LoraConfig
from pipeline.errors import ModelError
from pipeline.models.diffusers.components import some
from pipeline.models.diffusers.declarations import refuse_other_architecture
from pipeline.models.diffusers.lora_algebra import Placement, change, is_changed_by, place
from pipeline.models.diffusers.lora_file import LoraLayer, read_lora
from pipeline.models.source import locate

_ADAPTER = "fused"


def fuse_loras(pipe: Any, loras: tuple[LoraConfig, ...]) -> None:
    """Fuse LoRAs into the weights of a pipeline, in the type of the pipeline.

    Raises ``ModelError`` for a missing file, for layers that the pipeline does not have, and if a
    weight does not become W + scale · α / r · B · A.
    """
    for lora in loras:
        file = _file(lora)
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


def _file(lora: LoraConfig) -> Path:
    place = locate(lora)
    if place.is_file() and place.suffix == ".safetensors":
        return place
    if place.is_dir():
        found = sorted(place.glob("*.safetensors"))
        if len(found) == 1:
            return found[0]
        raise ModelError(
            f"{place}: {len(found)} .safetensors files here; set file in [[model.loras]] to one of "
            "them"
        )
    raise ModelError(f"{place}: a LoRA is a .safetensors file, not a pickle")
