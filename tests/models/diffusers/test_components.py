"""Missing, unknown and misshapen weights are rejected wherever weights are read."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from pipeline.config.model import ModelConfig
from pipeline.core.errors import ModelError
from pipeline.models.diffusers.components import component_class, load_component
from pipeline.models.diffusers.model_index import read_index
from pipeline.models.diffusers.pipelines import load_pipeline
from pipeline.models.diffusers.resolved_model import resolve_model
from tests.models.diffusers.families.tiny_pipelines import PIPELINES, build
from tests.models.diffusers.original_layout import original_checkpoint
from tests.models.diffusers.tiny import save_tiny_pipeline, tiny_pipeline

FLOAT = torch.float32
ENCODERS = ("text_encoder", "text_encoder_3")
Damage = Callable[[dict[str, Tensor], str], None]


def _missing(weights: dict[str, Tensor], name: str) -> None:
    del weights[name]


def _unexpected(weights: dict[str, Tensor], name: str) -> None:
    weights[f"{name}.another"] = torch.zeros(2)


def _of_another_shape(weights: dict[str, Tensor], name: str) -> None:
    weights[name] = torch.zeros(3, 5, 7)


@pytest.fixture(scope="module")
def sd3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with CLIP and T5 encoders, a transformer and a decoder."""
    folder = tmp_path_factory.mktemp("sd3")
    build("stable_diffusion_3").save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def sd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_pipeline(tmp_path_factory.mktemp("sd"))


def _load(folder: Path, checkpoint: Path | None = None, variant: str | None = None) -> Any:
    model = ModelConfig(
        name="tiny",
        path=str(checkpoint or folder),
        config=None if checkpoint is None else str(folder),
        variant=variant,
    )
    return load_pipeline(resolve_model(model), FLOAT)


def _weights(folder: Path) -> Path:
    (file,) = folder.glob("*.safetensors")
    return file


def _rewrite(file: Path, damage: Damage, name: str | None = None) -> str:
    """Damage the tensor ``name`` of a file, by default the one in its middle."""
    weights = load_file(file)
    name = name or sorted(weights)[len(weights) // 2]
    damage(weights, name)
    save_file(weights, file, metadata={"format": "pt"})
    return name


@pytest.mark.parametrize("family", PIPELINES)
def test_complete_folder_loads_with_the_weights_of_its_files(family: str, tmp_path: Path) -> None:
    saved = build(family)
    saved.save_pretrained(tmp_path)
    loaded = _load(tmp_path)
    assert set(loaded.components) == set(saved.components)
    for name, component in saved.components.items():
        if isinstance(component, torch.nn.Module):
            theirs = loaded.components[name].state_dict()
            assert all(torch.equal(theirs[k], v) for k, v in component.state_dict().items())


@pytest.mark.parametrize("damage", [_missing, _unexpected, _of_another_shape])
@pytest.mark.parametrize("part", [*ENCODERS, "transformer", "vae"])
def test_folder_whose_weights_differ_is_rejected_with_their_names(
    part: str, damage: Damage, sd3: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(sd3, tmp_path / "model")
    name = _rewrite(_weights(folder / part), damage)
    with pytest.raises(ModelError) as error:
        _load(folder)
    assert str(folder / part) in str(error.value) and name in str(error.value)


@pytest.mark.parametrize("part", ENCODERS)
def test_each_single_missing_weight_of_a_text_encoder_is_found(
    part: str, sd3: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(sd3 / part, tmp_path / part)
    kind = component_class(sd3, part, *read_index(sd3).classes[part])
    file = _weights(folder)
    complete = load_file(file)
    for name in complete:
        save_file({k: v for k, v in complete.items() if k != name}, file, {"format": "pt"})
        with pytest.raises(ModelError):
            load_component(kind, folder, FLOAT, None)


def test_names_of_older_libraries_are_read(sd: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(sd, tmp_path / "model")
    encoder, vae = (_weights(folder / part) for part in ("text_encoder", "vae"))
    weights = {f"text_model.{name}": t for name, t in load_file(encoder).items()}
    buffer = {"text_model.embeddings.position_ids": torch.arange(16)[None]}
    save_file(weights | buffer, encoder, {"format": "pt"})
    older = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    weights = load_file(vae)
    for new, old in older.items():
        weights = {k.replace(f".{new}.", f".{old}."): t for k, t in weights.items()}
    save_file(weights, vae, {"format": "pt"})
    read, expected = _load(folder), _load(sd)
    for part in ("text_encoder", "vae"):
        state, wanted = (getattr(pipe, part).state_dict() for pipe in (read, expected))
        assert state.keys() == wanted.keys()
        assert all(torch.equal(state[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("damage", ["no shard", "cut short", "another header", "index too long"])
def test_damaged_shards_are_rejected(damage: str, sd: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(sd, tmp_path / "model")
    for file in (folder / "unet").glob("*"):
        file.unlink()
    tiny_pipeline().unet.save_pretrained(folder / "unet", max_shard_size="100KB")
    _load(folder)
    shard = min((folder / "unet").glob("*.safetensors"))
    match damage:
        case "no shard":
            shard.unlink()
        case "cut short":
            shard.write_bytes(shard.read_bytes()[:-9])
        case "another header":
            shard.write_bytes(b"\xff" * 8 + shard.read_bytes()[8:])
        case "index too long":
            (index,) = (folder / "unet").glob("*.index.json")
            content = json.loads(index.read_text())
            _rewrite(shard, _missing, name := next(iter(load_file(shard))))
            assert name in content["weight_map"]
    with pytest.raises(ModelError, match=str(folder)):
        _load(folder)


@pytest.mark.parametrize("part", ["tokenizer", "tokenizer_3"])
def test_tokenizer_without_its_vocabulary_is_rejected(part: str, sd3: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(sd3, tmp_path / "model")
    (folder / part / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=rf"{part}: a tokenizer without a vocabulary"):
        _load(folder)
    shutil.rmtree(folder / part)
    with pytest.raises(ModelError, match=rf"{part}: a tokenizer without a vocabulary"):
        _load(folder)


def test_variant_that_lacks_a_weight_is_rejected(sd: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(sd, tmp_path / "model")
    tiny_pipeline().to(torch.float16).save_pretrained(folder, variant="fp16")
    _load(folder, variant="fp16")
    name = _rewrite(folder / "text_encoder" / "model.fp16.safetensors", _missing)
    _load(folder)
    with pytest.raises(ModelError, match=name):
        _load(folder, variant="fp16")


PLACES = {
    "unet": "model.diffusion_model.out.2.weight",
    "vae": "first_stage_model.decoder.conv_out.bias",
    "text encoder": "cond_stage_model.transformer.text_model.final_layer_norm.weight",
}


@pytest.fixture(scope="module")
def single(sd: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A single file, and the folder that describes it."""
    place = tmp_path_factory.mktemp("single")
    shutil.copytree(sd, place / "config", ignore=shutil.ignore_patterns("*.safetensors"))
    torch.manual_seed(0)
    weights = original_checkpoint(tiny_pipeline())
    # An untrained model's ones and zeros would all be alike.
    weights = {name: tensor + 0.01 * torch.randn_like(tensor) for name, tensor in weights.items()}
    save_file(weights, place / "model.safetensors")
    return place / "model.safetensors", place / "config"


@pytest.mark.parametrize("damage", [_missing, _unexpected, _of_another_shape])
@pytest.mark.parametrize("place", PLACES)
def test_single_file_whose_weights_differ_is_rejected(
    place: str, damage: Damage, single: tuple[Path, Path], tmp_path: Path
) -> None:
    file = Path(shutil.copy(single[0], tmp_path))
    _load(single[1], file)
    weights = load_file(file)
    damage(weights, PLACES[place])
    save_file(weights, file)
    with pytest.raises(ModelError, match=r"model\.safetensors"):
        _load(single[1], file)


def test_single_file_with_tables_and_an_average_beside_the_weights_is_read(
    single: tuple[Path, Path], tmp_path: Path
) -> None:
    weights = load_file(single[0])
    name = "cond_stage_model.transformer.text_model.embeddings.position_ids"
    beside = {"betas": torch.rand(9), name: torch.arange(16), "model_ema.decay": torch.ones(())}
    save_file(weights | beside, tmp_path / "model.safetensors")
    loaded = _load(single[1], tmp_path / "model.safetensors").unet.state_dict()
    expected = _load(single[1], single[0]).unet.state_dict()
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[name], expected[name]) for name in expected)


def test_single_file_without_a_text_encoder_reads_that_of_the_folder(
    single: tuple[Path, Path], sd: Path, tmp_path: Path
) -> None:
    weights = load_file(single[0])
    weights = {name: t for name, t in weights.items() if not name.startswith("cond_stage")}
    file = tmp_path / "model.safetensors"
    save_file(weights, file)
    with pytest.raises(ModelError, match="has no weights of text_encoder"):
        _load(single[1], file)
    folder = shutil.copytree(sd, tmp_path / "config")
    _load(folder, file)
    name = _rewrite(_weights(folder / "text_encoder"), _missing)
    with pytest.raises(ModelError, match=name):
        _load(folder, file)
