"""LoRA files of tests, in the formats of kohya and diffusers."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from pipeline.config.model import LoraConfig, ModelConfig
from pipeline.models.diffusers.loras import fuse_loras
from pipeline.models.diffusers.resolved_model import ResolvedModel

SCALE = 0.75
KOHYA = {
    "unet": "lora_unet",
    "transformer": "lora_transformer",
    "text_encoder": "lora_te1",
    "text_encoder_2": "lora_te2",
}
Layer = nn.Linear | nn.Conv2d
Factors = tuple[Tensor, Tensor, float]
"""Factors A (r, in) and B (out, r) of a layer, and its α."""


def layers_of(pipe: Any, pattern: str) -> dict[str, Layer]:
    """Return the layers of all networks whose names match, as component.path."""
    return {
        f"{component}.{path}": layer
        for component, module in pipe.components.items()
        if isinstance(module, nn.Module)
        for path, layer in module.named_modules()
        if isinstance(layer, Layer) and re.search(pattern, f"{component}.{path}")
    }


ATTENTION = r"attn\d?\.to_(q|v|out\.0)$|self_attn\.(q|v|out)_proj$"
EVERYTHING = rf"{ATTENTION}|ff\.net\.\d|mlp\.fc|proj_(in|out)$|resnets\.\d\.conv\d$"


def factors_of(layers: Mapping[str, Layer], ranks: tuple[int, ...]) -> dict[str, Factors]:
    """Return random factors, with ranks and alphas that differ from layer to layer."""
    generator = torch.Generator().manual_seed(1)
    found = {}
    for number, (name, layer) in enumerate(layers.items()):
        rank = ranks[number % len(ranks)]
        out, *rest = layer.weight.shape
        down = 0.3 * torch.randn(rank, *rest, generator=generator)
        up = 0.3 * torch.randn(out, rank, *(1,) * (len(rest) - 1), generator=generator)
        found[name] = (down, up, float(1 + number % 3))
    return found


def kohya_format(factors: Mapping[str, Factors]) -> dict[str, Tensor]:
    tensors = {}
    for name, (down, up, alpha) in factors.items():
        component, _, path = name.partition(".")
        if component.startswith("text") and not path.startswith("text_model"):
            path = f"text_model.{path}"
        stem = f"{KOHYA[component]}_{path.replace('.', '_')}"
        tensors[f"{stem}.lora_down.weight"] = down
        tensors[f"{stem}.lora_up.weight"] = up
        tensors[f"{stem}.alpha"] = torch.tensor(alpha)
    return tensors


def diffusers_format(factors: Mapping[str, Factors]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return factors with α in the metadata, as ``save_lora_weights`` writes it."""
    tensors: dict[str, Tensor] = {}
    settings: dict[str, Any] = {}
    for name, (down, up, alpha) in factors.items():
        component, _, path = name.partition(".")
        tensors[f"{name}.lora_A.weight"], tensors[f"{name}.lora_B.weight"] = down, up
        settings[f"{component}.r"], settings[f"{component}.lora_alpha"] = 3, 1
        settings.setdefault(f"{component}.alpha_pattern", {})[path] = alpha
        settings.setdefault(f"{component}.rank_pattern", {})[path] = len(down)
        settings.setdefault(f"{component}.target_modules", []).append(path)
    return tensors, {"lora_adapter_metadata": json.dumps(settings)}


def fuse(pipe: Any, file: Path) -> None:
    lora = LoraConfig(path=str(file), scale=SCALE)
    config = ModelConfig(name="model", path=str(file.parent), loras=(lora,))
    fuse_loras(pipe, ResolvedModel(config=config, folder=file.parent))


def fuse_tensors(pipe: Any, tensors: dict[str, Tensor], path: Path, **metadata: str) -> None:
    save_file({k: t.contiguous() for k, t in tensors.items()}, path / "lora.safetensors", metadata)
    fuse(pipe, path / "lora.safetensors")
