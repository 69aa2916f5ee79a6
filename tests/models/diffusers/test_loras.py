"""LoRAs in all formats: each weight changes by scale · α / r · B · A, or the file is rejected."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from pipeline.config.model import LoraConfig, ModelConfig
from pipeline.core.errors import ModelError
from pipeline.models.diffusers.loras import fuse_loras
from pipeline.models.diffusers.resolved_model import ResolvedModel
from tests.models.diffusers.families.tiny_pipelines import build

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


def _layers(pipe: Any, pattern: str) -> dict[str, Layer]:
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


def _factors(layers: Mapping[str, Layer], ranks: tuple[int, ...]) -> dict[str, Factors]:
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


def _kohya(factors: Mapping[str, Factors]) -> dict[str, Tensor]:
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


def _diffusers(factors: Mapping[str, Factors]) -> tuple[dict[str, Tensor], dict[str, str]]:
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


def _fuse(pipe: Any, file: Path) -> None:
    lora = LoraConfig(path=str(file), scale=SCALE)
    config = ModelConfig(name="model", path=str(file.parent), loras=(lora,))
    fuse_loras(pipe, ResolvedModel(config=config, folder=file.parent))


def _fused(pipe: Any, tensors: dict[str, Tensor], path: Path, **metadata: str) -> None:
    save_file({k: t.contiguous() for k, t in tensors.items()}, path / "lora.safetensors", metadata)
    _fuse(pipe, path / "lora.safetensors")


@pytest.mark.parametrize("pattern", [ATTENTION, EVERYTHING], ids=["attention", "all"])
@pytest.mark.parametrize("family", ["stable_diffusion", "stable_diffusion_xl"])
def test_kohyas_alphas_of_each_layer_count(family: str, pattern: str, tmp_path: Path) -> None:
    pipe = build(family)
    factors = _factors(_layers(pipe, rf"^(unet|text).*({pattern})"), ranks=(2, 4, 3))
    before = _weights(pipe)
    _fused(pipe, _kohya(factors), tmp_path)
    _check(pipe, before, factors)


@pytest.mark.parametrize("family", ["stable_diffusion_xl", "stable_diffusion_3", "flux"])
def test_alphas_in_the_metadata_of_diffusers_are_used(family: str, tmp_path: Path) -> None:
    pipe = build(family)
    layers = _layers(pipe, rf"^(unet|transformer|text_encoder(_2)?)\..*({ATTENTION})")
    layers = {n: m for n, m in layers.items() if not (family == "flux" and "encoder_2" in n)}
    factors = _factors(layers, ranks=(2, 4, 3))
    before = _weights(pipe)
    tensors, metadata = _diffusers(factors)
    _fused(pipe, tensors, tmp_path, **metadata)
    _check(pipe, before, factors)


def test_mixed_ranks_without_alphas_have_full_strength(tmp_path: Path) -> None:
    pipe = build("stable_diffusion_xl")
    factors = _factors(_layers(pipe, rf"^(unet|text).*({ATTENTION})"), ranks=(2, 4, 3))
    factors = {name: (down, up, len(down)) for name, (down, up, _) in factors.items()}
    before = _weights(pipe)
    tensors = {key: t for key, t in _kohya(factors).items() if not key.endswith(".alpha")}
    _fused(pipe, tensors, tmp_path)
    _check(pipe, before, factors)


def test_query_key_and_value_in_one_layer_of_kohyas_flux_are_split(tmp_path: Path) -> None:
    pipe = build("flux")
    generator = torch.Generator().manual_seed(1)
    down, up = torch.randn(4, 32, generator=generator), torch.randn(96, 4, generator=generator)
    stem = "lora_unet_double_blocks_0_img_attn_qkv"
    tensors = {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up}
    before = _weights(pipe)
    _fused(pipe, tensors | {f"{stem}.alpha": torch.tensor(1.0)}, tmp_path)
    paths = (f"transformer.transformer_blocks.0.attn.to_{x}" for x in "qkv")
    parts = dict(zip(paths, up.chunk(3), strict=True))
    _check(pipe, before, {name: (down, part, 1.0) for name, part in parts.items()})


def test_half_precision_is_fused_up_to_rounding(tmp_path: Path) -> None:
    pipe = build("stable_diffusion").to(torch.float16)
    factors = _factors(_layers(pipe, rf"^(unet|text).*({ATTENTION})"), ranks=(2, 4))
    before = _weights(pipe)
    _fused(pipe, _kohya(factors), tmp_path)
    after = _weights(pipe)
    for name, (down, up, alpha) in factors.items():
        delta = SCALE * alpha / len(down) * up @ down
        change = after[f"{name}.weight"].float() - before[f"{name}.weight"].float()
        assert float((change - delta).norm() / delta.norm()) < 0.02, name


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    """A LoRA of tiny Stable Diffusion in kohya's format."""
    layers = _layers(build("stable_diffusion"), rf"^unet.*({ATTENTION})")
    return _kohya(_factors(layers, ranks=(2,)))


def _refused(tensors: dict[str, Tensor], path: Path, message: str, **metadata: str) -> None:
    pipe = build("stable_diffusion")
    with pytest.raises(ModelError, match=message):
        _fused(pipe, tensors, path, **metadata)


def test_layers_without_a_place_are_rejected_with_their_names(
    tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    """The file has layers like those of another model with more blocks."""
    more = {
        key.replace("down_blocks_0", "down_blocks_7"): 1 + tensor
        for key, tensor in tensors.items()
        if "down_blocks_0" in key
    }
    _refused(tensors | more, tmp_path, "down_blocks_7")


def test_layers_without_a_place_in_diffusers_format_are_rejected(tmp_path: Path) -> None:
    layers = _layers(build("stable_diffusion"), rf"^unet.*({ATTENTION})")
    tensors, _ = _diffusers(_factors(layers, ranks=(2,)))
    elsewhere = {k.replace("unet.mid", "unet.another"): t for k, t in tensors.items()}
    _refused(elsewhere, tmp_path, r"layers of this LoRA have no place .*unet\.another")


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("dora_scale", "DoRA"),
        ("hada_w1_a", "LoHa"),
        ("lokr_w1", "LoKr"),
        ("lora_mid.weight", "Tucker"),
        ("diff_b", "full differences"),
    ],
)
def test_tensors_other_than_pairs_of_factors_are_rejected(
    key: str, message: str, tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    stem = next(iter(tensors)).partition(".")[0]
    _refused(tensors | {f"{stem}.{key}": torch.ones(2, 2)}, tmp_path, message)


def test_one_factor_alone_is_rejected(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    up = next(key for key in tensors if key.endswith("lora_up.weight"))
    _refused({k: t for k, t in tensors.items() if k != up}, tmp_path, "not both factors")


def test_alpha_in_kohyas_metadata_alone_is_rejected(
    tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    without = {k: t for k, t in tensors.items() if not k.endswith(".alpha")}
    metadata = {"ss_network_alpha": "1.0", "ss_network_dim": "2"}
    _refused(without, tmp_path, "alpha 1.0 at rank 2", **metadata)


def test_numbers_that_are_not_finite_are_rejected(
    tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    key = next(key for key in tensors if key.endswith("lora_up.weight"))
    _refused(tensors | {key: torch.full_like(tensors[key], torch.nan)}, tmp_path, "match no layer")


def test_damaged_file_is_rejected(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    save_file(tensors, tmp_path / "lora.safetensors")
    path = tmp_path / "lora.safetensors"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ModelError, match="damaged"):
        _fuse(build("stable_diffusion"), path)


def test_family_without_loras_is_rejected(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no LoRAs for a PixArtSigmaPipeline"):
        _fused(build("pixart_sigma"), tensors, tmp_path)


def test_factors_without_a_common_rank_are_rejected(
    tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    down = next(key for key in tensors if key.endswith("lora_down.weight"))
    alpha = down.replace("lora_down.weight", "alpha")
    more, flat = torch.cat([tensors[down]] * 2), tensors[down].flatten()
    _refused(tensors | {down: more}, tmp_path, "have no common rank")
    _refused(tensors | {down: flat}, tmp_path, "have no common rank")
    for value in (torch.ones(2), torch.tensor(torch.nan)):
        _refused(tensors | {alpha: value}, tmp_path, "not one finite number")


@pytest.mark.parametrize(
    "setting",
    [
        {"unet.alpha_pattern": {"(a+)+b": 1.0}},
        {"unet.alpha_pattern": ["x"]},
        {"unet.rank_pattern": {"to_q": 10**9}},
        {"unet.r": 10**9},
        {"unet.lora_alpha": "4"},
        {"unet.lora_alpha": -1},
    ],
)
def test_metadata_that_peft_cannot_use_are_rejected(
    setting: dict[str, object], tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    # A regular expression such as (a+)+b would be matched for years.
    metadata = json.dumps(setting)
    _refused(tensors, tmp_path, "in its metadata is", lora_adapter_metadata=metadata)


def test_metadata_of_kohya_that_are_no_numbers_are_rejected(
    tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    bare = {key: tensor for key, tensor in tensors.items() if not key.endswith("alpha")}
    metadata = {"ss_network_alpha": "many", "ss_network_dim": "4"}
    _refused(bare, tmp_path, "alpha many at rank 4", **metadata)


def test_fifos_links_out_of_a_folder_and_pickles_are_rejected(
    tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    pipe = build("stable_diffusion")
    folder = tmp_path / "lora"
    folder.mkdir()
    save_file(tensors, tmp_path / "outside.safetensors")
    (folder / "lora.safetensors").symlink_to(tmp_path / "outside.safetensors")
    with pytest.raises(ModelError, match=r"lora\.safetensors: a link to .*outside of"):
        _fuse(pipe, folder)
    os.mkfifo(tmp_path / "fifo.safetensors")
    with pytest.raises(ModelError, match=r"fifo\.safetensors: not a regular file"):
        _fuse(pipe, tmp_path / "fifo.safetensors")
    torch.save(tensors, tmp_path / "lora.pt")
    with pytest.raises(ModelError, match=r"lora\.pt: a LoRA is a \.safetensors file"):
        _fuse(pipe, tmp_path / "lora.pt")
