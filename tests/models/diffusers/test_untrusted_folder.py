"""Model folders that somebody else made: links, code, shards, sizes, and weights of other kinds."""

import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipeline.config.model import ModelConfig
from pipeline.core.errors import ModelError
from pipeline.models.diffusers.resolved_model import resolve_model
from pipeline.models.load import load_denoiser
from tests.models.diffusers.tiny import edit, save_tiny_pipeline

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_pipeline(tmp_path_factory.mktemp("model") / "intact")


@pytest.fixture
def folder(intact: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(intact, tmp_path / "tiny"))


def loading(folder: Path) -> object:
    model = resolve_model(ModelConfig(name="tiny", path=str(folder), dtype="float32"))
    return load_denoiser(model, CPU)


def linked_out(folder: Path) -> None:
    path = folder / "tokenizer" / "tokenizer.json"
    outside = folder.parent / "private.txt"
    path.rename(outside)
    path.symlink_to(outside)


def linked_weights(folder: Path) -> None:
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    outside = folder.parent / "weights.safetensors"
    path.rename(outside)
    path.symlink_to(outside)


def layers(folder: Path) -> None:
    edit(folder / "text_encoder" / "config.json", num_hidden_layers=10**6)


def more_layers(folder: Path) -> None:
    edit(folder / "text_encoder" / "config.json", num_hidden_layers=10**9)


def width(folder: Path) -> None:
    edit(folder / "unet" / "config.json", block_out_channels=[2**20, 2**20])


def image(folder: Path) -> None:
    edit(folder / "unet" / "config.json", sample_size=100_000)


def timesteps(folder: Path) -> None:
    edit(folder / "scheduler" / "scheduler_config.json", num_train_timesteps=10**10)


def heads(folder: Path) -> None:
    edit(folder / "unet" / "config.json", attention_head_dim=0)


def tokenizer_code(folder: Path) -> None:
    edit(folder / "tokenizer" / "tokenizer_config.json", auto_map={"AutoTokenizer": "code.Words"})
    (folder / "tokenizer" / "code.py").write_text("raise SystemExit('code ran')")


def component_code(folder: Path) -> None:
    edit(folder / "model_index.json", unet=["code", "Network"])
    (folder / "unet" / "code.py").write_text("raise SystemExit('code ran')")


def other_attribute(folder: Path) -> None:
    edit(folder / "model_index.json", tokenizer=["transformers", "pipeline"])


def outer_component(folder: Path) -> None:
    edit(folder / "model_index.json", **{"../../unet": ["diffusers", "UNet2DConditionModel"]})


def kernel(folder: Path) -> None:
    edit(folder / "text_encoder" / "config.json", attn_implementation="somebody/kernel")


def adapter(folder: Path) -> None:
    content = {"base_model_name_or_path": "/somewhere", "peft_type": "LORA"}
    (folder / "text_encoder" / "adapter_config.json").write_text(json.dumps(content))


def pickle(folder: Path) -> None:
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(path), path.with_suffix(".bin"))
    path.unlink()


def shards(folder: Path, name: str) -> None:
    path = folder / "text_encoder" / "model.safetensors"
    names = dict.fromkeys(load_file(path), name)
    path.rename(
        folder.parent / "model.bin" if name.endswith(".bin") else folder / "outer.safetensors"
    )
    index = {"metadata": {"total_size": 1}, "weight_map": names}
    path.with_name("model.safetensors.index.json").write_text(json.dumps(index))
    shutil.copy(
        folder / "unet" / "diffusion_pytorch_model.safetensors", path.parent / "x.safetensors"
    )


def outer_shards(folder: Path) -> None:
    shards(folder, "../outer.safetensors")


def pickled_shards(folder: Path) -> None:
    shards(folder, "model.bin")


def header(folder: Path) -> None:
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(struct.pack("<Q", 2**62) + path.read_bytes()[8:])


def integers(folder: Path) -> None:
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    tensors["conv_in.weight"] = tensors["conv_in.weight"].to(torch.int8)
    save_file(tensors, path, {"format": "pt"})


def nested(folder: Path) -> None:
    (folder / "unet" / "config.json").write_text("[" * 100_000)


def large(folder: Path) -> None:
    os.truncate(folder / "tokenizer" / "tokenizer.json", 2**30)


def strange_setting(folder: Path) -> None:
    path = folder / "tokenizer" / "tokenizer.json"
    edit(path, added_tokens=[{"content": "x", "a\x1b[31m": True}])


def sparse_weights(folder: Path) -> None:
    os.truncate(folder / "text_encoder" / "model.safetensors", 2**36)


def endless_pattern(folder: Path) -> None:
    split = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Removed"}
    edit(folder / "tokenizer" / "tokenizer.json", pre_tokenizer=split | {"invert": False})


def damaged_tokenizer(folder: Path) -> None:
    (folder / "tokenizer" / "tokenizer.json").write_text('{"version": "1.0", "model": {}}')


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (linked_out, r"tokenizer\.json: a link to .*private\.txt, outside of .*copy of the file"),
        (linked_weights, r"model\.safetensors: a link to .*outside of"),
        (layers, r"text_encoder/config\.json: declares a network of more than 10,\d+ layers"),
        (more_layers, r"config\.json: num_hidden_layers is 1,000,000,000; at most 1,048,576"),
        (width, r"unet/config\.json: declares a network of more than 17,\d+,\d+ values"),
        (image, r"unet/config\.json: sample_size is 100,000; at most 1,024"),
        (timesteps, r"scheduler_config\.json: num_train_timesteps is 10,000,000,000"),
        (heads, r"tiny: the model cannot be loaded: .*ZeroDivisionError"),
        (tokenizer_code, r"tokenizer_config\.json: auto_map asks for code .*never run"),
        (component_code, r"unet in model_index\.json is code\.Network.*never run"),
        (other_attribute, r"tokenizer in model_index\.json is transformers\.pipeline"),
        (outer_component, r"model_index\.json: '\.\./\.\./unet' is not the name of a component"),
        (kernel, r"config\.json: attn_implementation names code, which is never run"),
        (adapter, r"adapter_config\.json: a LoRA inside a model folder"),
        (pickle, r"unet: has no \.safetensors files, and pickles .* are never read"),
        (outer_shards, r"index\.json: names the weights '\.\./outer\.safetensors'"),
        (pickled_shards, r"index\.json: names the weights 'model\.bin'"),
        (header, r"model\.safetensors is damaged \(its header has 4,611,686,018,427,387,904"),
        (integers, r"conv_in\.weight is of type I8, which holds no weights"),
        (nested, r"unet/config\.json: not valid JSON: nested too deeply"),
        (large, r"tokenizer\.json: has 1,073,741,824 bytes; at most 67,108,864"),
        (strange_setting, r"tokenizer\.json: .* is not the name of a setting"),
        (sparse_weights, r"text_encoder/model\.safetensors is damaged"),
        (endless_pattern, r"tokenizer\.json: its regular expression .* it repeats a group"),
        (damaged_tokenizer, r"tiny: the model cannot be loaded: "),
    ],
)
def test_a_folder_that_somebody_forged_is_rejected_with_the_file(
    folder: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(folder)
    with pytest.raises(ModelError, match=message):
        loading(folder)


def test_links_within_a_folder_and_of_a_snapshot_are_followed(intact: Path, tmp_path: Path) -> None:
    repository = tmp_path / "models--a--b"
    snapshot = repository / "snapshots" / "0" / "tiny"
    shutil.copytree(intact, snapshot.parent, dirs_exist_ok=True)
    blobs = repository / "blobs"
    blobs.mkdir()
    for number, path in enumerate(sorted(snapshot.parent.rglob("*"))):
        if path.is_file():
            path.rename(blobs / str(number))
            path.symlink_to(os.path.relpath(blobs / str(number), path.parent))
    assert loading(snapshot.parent)
