"""Fusion of LoRAs in all formats: each weight changes by scale · α / r · B · A."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.models.diffusers.families.tiny_pipelines import build
from tests.models.diffusers.lora_files import (
    ATTENTION,
    EVERYTHING,
    SCALE,
    Factors,
    diffusers_format,
    factors_of,
    fuse_tensors,
    kohya_format,
    layers_of,
)


def _weights(pipe: Any) -> dict[str, Tensor]:
    return {
        f"{component}.{name}": tensor.clone()
        for component, module in pipe.components.items()
        if isinstance(module, nn.Module)
        for name, tensor in module.state_dict().items()
    }


def _check(pipe: Any, before: Mapping[str, Tensor], factors: Mapping[str, Factors]) -> None:
    """Compare the change of every weight with scale · α / r · B · A; others must not change."""
    after = _weights(pipe)
    assert after.keys() == before.keys()
    for name, old in before.items():
        layer = name.removesuffix(".weight")
        delta = torch.zeros_like(old)
        if layer in factors and name != layer:
            down, up, alpha = factors[layer]
            product = up.flatten(1).double() @ down.flatten(1).double()
            delta = (SCALE * alpha / len(down) * product).view(old.shape).float()
        torch.testing.assert_close(after[name], old + delta, rtol=1e-6, atol=1e-6, msg=name)


@pytest.mark.parametrize("pattern", [ATTENTION, EVERYTHING], ids=["attention", "all"])
@pytest.mark.parametrize("family", ["stable_diffusion", "stable_diffusion_xl"])
def test_kohyas_alphas_of_each_layer_count(family: str, pattern: str, tmp_path: Path) -> None:
    pipe = build(family)
    factors = factors_of(layers_of(pipe, rf"^(unet|text).*({pattern})"), ranks=(2, 4, 3))
    before = _weights(pipe)
    fuse_tensors(pipe, kohya_format(factors), tmp_path)
    _check(pipe, before, factors)


@pytest.mark.parametrize("family", ["stable_diffusion_xl", "stable_diffusion_3", "flux"])
def test_alphas_in_the_metadata_of_diffusers_are_used(family: str, tmp_path: Path) -> None:
    pipe = build(family)
    layers = layers_of(pipe, rf"^(unet|transformer|text_encoder(_2)?)\..*({ATTENTION})")
    layers = {n: m for n, m in layers.items() if not (family == "flux" and "encoder_2" in n)}
    factors = factors_of(layers, ranks=(2, 4, 3))
    before = _weights(pipe)
    tensors, metadata = diffusers_format(factors)
    fuse_tensors(pipe, tensors, tmp_path, **metadata)
    _check(pipe, before, factors)


def test_mixed_ranks_without_alphas_have_full_strength(tmp_path: Path) -> None:
    pipe = build("stable_diffusion_xl")
    factors = factors_of(layers_of(pipe, rf"^(unet|text).*({ATTENTION})"), ranks=(2, 4, 3))
    factors = {name: (down, up, len(down)) for name, (down, up, _) in factors.items()}
    before = _weights(pipe)
    tensors = {key: t for key, t in kohya_format(factors).items() if not key.endswith(".alpha")}
    fuse_tensors(pipe, tensors, tmp_path)
    _check(pipe, before, factors)


def test_query_key_and_value_in_one_layer_of_kohyas_flux_are_split(tmp_path: Path) -> None:
    pipe = build("flux")
    generator = torch.Generator().manual_seed(1)
    down, up = torch.randn(4, 32, generator=generator), torch.randn(96, 4, generator=generator)
    stem = "lora_unet_double_blocks_0_img_attn_qkv"
    tensors = {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up}
    before = _weights(pipe)
    fuse_tensors(pipe, tensors | {f"{stem}.alpha": torch.tensor(1.0)}, tmp_path)
    paths = (f"transformer.transformer_blocks.0.attn.to_{x}" for x in "qkv")
    parts = dict(zip(paths, up.chunk(3), strict=True))
    _check(pipe, before, {name: (down, part, 1.0) for name, part in parts.items()})


def test_half_precision_is_fused_up_to_rounding(tmp_path: Path) -> None:
    pipe = build("stable_diffusion").to(torch.float16)
    factors = factors_of(layers_of(pipe, rf"^(unet|text).*({ATTENTION})"), ranks=(2, 4))
    before = _weights(pipe)
    fuse_tensors(pipe, kohya_format(factors), tmp_path)
    after = _weights(pipe)
    for name, (down, up, alpha) in factors.items():
        delta = SCALE * alpha / len(down) * up @ down
        change = after[f"{name}.weight"].float() - before[f"{name}.weight"].float()
        assert float((change - delta).norm() / delta.norm()) < 0.02, name
