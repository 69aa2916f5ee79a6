"""Selection of a pipeline's files: each weight is fetched and hashed once, and no other file."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from pipeline.config.model import ModelConfig
from pipeline.core.errors import ModelError
from pipeline.models.diffusers.resolved_model import resolve_model
from pipeline.models.model_identity import model_settings, with_digests
from tests.models.hub import COMMIT, REPOSITORY, Hub, point_to, serve

INDEX = {
    "_class_name": "StableDiffusionXLPipeline",
    "feature_extractor": [None, None],
    "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
    "force_zeros_for_empty_prompt": True,
    "scheduler": ["diffusers", "EulerDiscreteScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
}
TOLD = {
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "tokenizer/merges.txt",
    "tokenizer/vocab.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors.index.json",
}
PLAIN = {
    "text_encoder/model.safetensors",
    "unet/diffusion_pytorch_model-00001-of-00002.safetensors",
    "unet/diffusion_pytorch_model-00002-of-00002.safetensors",
}
HALF = {
    "unet/diffusion_pytorch_model.fp16-00001-of-00002.safetensors",
    "unet/diffusion_pytorch_model.fp16-00002-of-00002.safetensors",
}
OTHERS = {
    "README.md",
    "big_model.safetensors",
    "safety_checker/model.safetensors",
    "text_encoder/flax_model.msgpack",
    "text_encoder/pytorch_model.bin",
    "text_encoders/clip_g.safetensors",
    "unet/diffusion_pytorch_model.bin",
    "unet/diffusion_pytorch_model.bin.index.json",
    "unet/diffusion_pytorch_model.non_ema.safetensors",
    "unet/model.onnx",
    "unet/modeling.py",
}
IN_HALF = (PLAIN - {name for name in PLAIN if name.startswith("unet/")}) | HALF


def _content(name: str) -> bytes:
    if name.endswith(".safetensors"):
        return save({"weight": torch.zeros(1)}, {"name": name})
    return json.dumps(INDEX).encode() if name == "model_index.json" else name.encode()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A repository with all kinds of files that model repositories have."""
    with serve({name: _content(name) for name in TOLD | PLAIN | HALF | OTHERS}) as hub:
        point_to(hub, tmp_path / "cache", monkeypatch)
        yield hub


def _model(**fields: Any) -> ModelConfig:
    return ModelConfig(name="model", **fields)


def _digest(model: ModelConfig) -> str:
    return resolve_model(model).digest


@pytest.mark.parametrize(("variant", "weights"), [(None, PLAIN), ("fp16", IN_HALF)])
def test_hub_pipeline_one_of_each_weight_is_fetched(
    hub: Hub, variant: str | None, weights: set[str]
) -> None:
    resolve_model(_model(hub=REPOSITORY, revision=COMMIT, variant=variant))
    assert set(hub.bodies) == TOLD | weights
    assert set(hub.bodies.values()) == {1}


@pytest.mark.parametrize("variant", [None, "fp16"])
def test_digest_covers_the_used_files_alone_on_disk_and_on_the_hub(
    hub: Hub, tmp_path: Path, variant: str | None
) -> None:
    for name, content in hub.files.items():
        path = tmp_path / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    local = _model(path=str(tmp_path / "folder"), variant=variant)
    digest = _digest(local)
    assert digest == _digest(_model(hub=REPOSITORY, revision=COMMIT, variant=variant))
    used = TOLD | (PLAIN if variant is None else IN_HALF)
    for name in hub.files.keys() - used:
        (tmp_path / "folder" / name).write_bytes(b"something else")
    assert _digest(local) == digest
    for name in used - {"model_index.json"}:
        (tmp_path / "folder" / name).write_bytes(_content(f"other/{name}"))
        assert _digest(local) != digest, name
        (tmp_path / "folder" / name).write_bytes(_content(name))


def test_single_file_needs_config_and_its_digest_covers_both(tmp_path: Path) -> None:
    checkpoint, folder = tmp_path / "model.safetensors", tmp_path / "config"
    checkpoint.write_bytes(b"weights")
    (folder / "unet").mkdir(parents=True)
    (folder / "model_index.json").write_bytes(_content("model_index.json"))
    with pytest.raises(ModelError, match=r"set config in \[model\] to a folder"):
        resolve_model(_model(path=str(checkpoint)))
    model = _model(path=str(checkpoint), config=str(folder))
    before = _digest(model)
    (folder / "unet" / "config.json").write_bytes(b"{}")
    other = _digest(model)
    checkpoint.write_bytes(b"other weights")
    assert len({before, other, _digest(model)}) == 3


def test_single_file_pickle_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "model.ckpt").write_bytes(b"a pickle")
    with pytest.raises(ModelError, match=r"single .safetensors file.* convert a .ckpt"):
        resolve_model(_model(path=str(tmp_path / "model.ckpt"), config=str(tmp_path)))


def test_settings_have_digests_and_scales_but_no_paths(tmp_path: Path) -> None:
    (tmp_path / "lora.safetensors").write_bytes(b"a LoRA")
    (tmp_path / "model_index.json").write_bytes(_content("model_index.json"))
    loras = ({"path": str(tmp_path / "lora.safetensors"), "scale": 0.5},)
    model = _model(path=str(tmp_path), loras=loras)
    settings = with_digests(model_settings(model), resolve_model(model))
    assert str(tmp_path) not in settings.model_dump_json()
    assert [lora.scale for lora in settings.loras] == [0.5]
    assert [lora.fused_by for lora in settings.loras] == ["file"], "another plan than before"
    (tmp_path / "lora.safetensors").write_bytes(b"another")
    assert with_digests(settings, resolve_model(model)) != settings
