"""LoRA files that are rejected, with the reason."""

import json
import os
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from pipeline.core.errors import ModelError
from tests.models.diffusers.families.tiny_pipelines import build
from tests.models.diffusers.lora_files import (
    ATTENTION,
    diffusers_format,
    factors_of,
    fuse,
    fuse_tensors,
    kohya_format,
    layers_of,
)


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    """A LoRA of tiny Stable Diffusion in kohya's format."""
    layers = layers_of(build("stable_diffusion"), rf"^unet.*({ATTENTION})")
    return kohya_format(factors_of(layers, ranks=(2,)))


def _refusal(tensors: dict[str, Tensor], path: Path, **metadata: str) -> str:
    """Return the message with which a LoRA is rejected."""
    with pytest.raises(ModelError) as raised:
        fuse_tensors(build("stable_diffusion"), tensors, path, **metadata)
    return str(raised.value)


def test_layers_without_a_place_are_rejected_with_their_names(
    tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    """The file has layers like those of another model with more blocks."""
    more = {
        key.replace("down_blocks_0", "down_blocks_7"): 1 + tensor
        for key, tensor in tensors.items()
        if "down_blocks_0" in key
    }
    assert "down_blocks_7" in _refusal(tensors | more, tmp_path)


def test_layers_without_a_place_in_diffusers_format_are_rejected(tmp_path: Path) -> None:
    layers = layers_of(build("stable_diffusion"), rf"^unet.*({ATTENTION})")
    tensors, _ = diffusers_format(factors_of(layers, ranks=(2,)))
    elsewhere = {k.replace("unet.mid", "unet.another"): t for k, t in tensors.items()}
    assert re.search(
        r"layers of this LoRA have no place .*unet\.another", _refusal(elsewhere, tmp_path)
    )


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
    assert message in _refusal(tensors | {f"{stem}.{key}": torch.ones(2, 2)}, tmp_path)


def test_one_factor_alone_is_rejected(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    up = next(key for key in tensors if key.endswith("lora_up.weight"))
    assert "not both factors" in _refusal({k: t for k, t in tensors.items() if k != up}, tmp_path)


def test_alpha_in_kohyas_metadata_alone_is_rejected(
    tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    without = {k: t for k, t in tensors.items() if not k.endswith(".alpha")}
    metadata = {"ss_network_alpha": "1.0", "ss_network_dim": "2"}
    assert "alpha 1.0 at rank 2" in _refusal(without, tmp_path, **metadata)


def test_numbers_that_are_not_finite_are_rejected(
    tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    key = next(key for key in tensors if key.endswith("lora_up.weight"))
    assert "match no layer" in _refusal(
        tensors | {key: torch.full_like(tensors[key], torch.nan)}, tmp_path
    )


def test_damaged_file_is_rejected(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    save_file(tensors, tmp_path / "lora.safetensors")
    path = tmp_path / "lora.safetensors"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ModelError, match="damaged"):
        fuse(build("stable_diffusion"), path)


def test_family_without_loras_is_rejected(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no LoRAs for a PixArtSigmaPipeline"):
        fuse_tensors(build("pixart_sigma"), tensors, tmp_path)


def test_factors_without_a_common_rank_are_rejected(
    tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    down = next(key for key in tensors if key.endswith("lora_down.weight"))
    alpha = down.replace("lora_down.weight", "alpha")
    more, flat = torch.cat([tensors[down]] * 2), tensors[down].flatten()
    assert "have no common rank" in _refusal(tensors | {down: more}, tmp_path)
    assert "have no common rank" in _refusal(tensors | {down: flat}, tmp_path)
    for value in (torch.ones(2), torch.tensor(torch.nan)):
        assert "not one finite number" in _refusal(tensors | {alpha: value}, tmp_path)


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
    assert "in its metadata is" in _refusal(tensors, tmp_path, lora_adapter_metadata=metadata)


def test_metadata_of_kohya_that_are_no_numbers_are_rejected(
    tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    bare = {key: tensor for key, tensor in tensors.items() if not key.endswith("alpha")}
    metadata = {"ss_network_alpha": "many", "ss_network_dim": "4"}
    assert "alpha many at rank 4" in _refusal(bare, tmp_path, **metadata)


def test_fifos_links_out_of_a_folder_and_pickles_are_rejected(
    tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    pipe = build("stable_diffusion")
    folder = tmp_path / "lora"
    folder.mkdir()
    save_file(tensors, tmp_path / "outside.safetensors")
    (folder / "lora.safetensors").symlink_to(tmp_path / "outside.safetensors")
    with pytest.raises(ModelError, match=r"lora\.safetensors: a link to .*outside of"):
        fuse(pipe, folder)
    os.mkfifo(tmp_path / "fifo.safetensors")
    with pytest.raises(ModelError, match=r"fifo\.safetensors: not a regular file"):
        fuse(pipe, tmp_path / "fifo.safetensors")
    torch.save(tensors, tmp_path / "lora.pt")
    with pytest.raises(ModelError, match=r"lora\.pt: a LoRA is a \.safetensors file"):
        fuse(pipe, tmp_path / "lora.pt")
