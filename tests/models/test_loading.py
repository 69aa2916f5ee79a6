"""Loading a configured model: single files, variants, LoRAs and options, on real tiny pipelines."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig as PeftConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file
from torch import Tensor

from pipeline.config.model import ModelConfig
from pipeline.core.errors import ModelError
from pipeline.diffusion.denoiser import Denoiser
from pipeline.models.diffusers.pipelines import apply_options
from pipeline.models.diffusers.resolved_model import resolve_model
from pipeline.models.load import load_denoiser
from tests.models.diffusers.families.tiny_pipelines import hunyuan_dit
from tests.models.diffusers.original_layout import original_checkpoint
from tests.models.diffusers.tiny import save_tiny_pipeline, tiny_pipeline

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_pipeline(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def plain(folder: Path) -> Denoiser:
    """The folder's model without options."""
    return _load(path=str(folder))


def _load(**fields: Any) -> Denoiser:
    return load_denoiser(resolve_model(ModelConfig(name="tiny", **fields)), CPU)


def _prediction(denoiser: Denoiser) -> Tensor:
    prompts = denoiser.encode_prompts(["a red circle"])
    latents = torch.randn(1, *denoiser.latent_shape, generator=torch.Generator().manual_seed(0))
    timestep = denoiser.schedule(4).timesteps[1]
    return denoiser.predict(latents, timestep, prompts.conditional)


def _image(denoiser: Denoiser) -> Tensor:
    latents = torch.randn(3, *denoiser.latent_shape, generator=torch.Generator().manual_seed(0))
    return denoiser.decode(latents)


def _save_lora(pipe: Any, path: Path) -> dict[str, tuple[Tensor, Tensor]]:
    """Write a LoRA of random weights in diffusers' format. Return its two factors by layer."""
    torch.manual_seed(1)
    config = PeftConfig(
        r=2, lora_alpha=2, target_modules=["to_q", "to_v"], init_lora_weights="gaussian"
    )
    pipe.unet.add_adapter(config)
    weights = get_peft_model_state_dict(pipe.unet)
    weights = {name: torch.randn_like(weight) * 0.3 for name, weight in weights.items()}
    save_file({f"unet.{name}": w.contiguous() for name, w in weights.items()}, path)
    ups = {
        name.removesuffix(".lora_B.weight"): w for name, w in weights.items() if "lora_B" in name
    }
    return {name: (up, weights[f"{name}.lora_A.weight"]) for name, up in ups.items()}


def test_lora_is_fused_with_its_scale(folder: Path, plain: Denoiser, tmp_path: Path) -> None:
    file = tmp_path / "lora.safetensors"
    factors = _save_lora(tiny_pipeline(), file)
    assert len(factors) > 4
    loras = ({"path": str(file), "scale": 0.5}, {"path": str(tmp_path), "scale": 0.25})
    # The straight line: W + (0.5 + 0.25)·B·A.
    expected = tiny_pipeline()
    modules = dict(expected.unet.named_modules())
    with torch.no_grad():
        for name, (up, down) in factors.items():
            modules[name].weight += 0.75 * up @ down
    expected.save_pretrained(tmp_path / "expected")
    theirs = _prediction(_load(path=str(tmp_path / "expected")))
    ours = _prediction(_load(path=str(folder), loras=loras))
    assert torch.allclose(ours, theirs, atol=1e-5)
    assert not torch.allclose(ours, _prediction(plain), atol=1e-3)


def test_lora_of_another_model_is_rejected(folder: Path, tmp_path: Path) -> None:
    weights = {f"unet.elsewhere.to_q.lora_{x}.weight": torch.ones(2, 2) for x in "AB"}
    save_file(weights, tmp_path / "lora.safetensors")
    with pytest.raises(ModelError, match=r"lora.safetensors.*LoRA"):
        _load(path=str(folder), loras=({"path": str(tmp_path / "lora.safetensors")},))


def test_lora_pickle_is_rejected(folder: Path, tmp_path: Path) -> None:
    torch.save({}, tmp_path / "lora.bin")
    with pytest.raises(ModelError, match=r"a \.safetensors file, not a pickle"):
        _load(path=str(folder), loras=({"path": str(tmp_path / "lora.bin")},))


def test_variant_of_the_weights_is_loaded(plain: Denoiser, tmp_path: Path) -> None:
    pipe = tiny_pipeline()
    pipe.save_pretrained(tmp_path, variant="fp16")
    with torch.no_grad():
        pipe.unet.conv_out.weight *= 2
    pipe.save_pretrained(tmp_path)
    assert torch.equal(_prediction(_load(path=str(tmp_path), variant="fp16")), _prediction(plain))
    assert not torch.equal(_prediction(_load(path=str(tmp_path))), _prediction(plain))


def test_single_file_in_the_original_layout_is_the_same_model(
    folder: Path, plain: Denoiser, tmp_path: Path
) -> None:
    save_file(original_checkpoint(tiny_pipeline()), tmp_path / "model.safetensors")
    shutil.copytree(folder, tmp_path / "config", ignore=shutil.ignore_patterns("*.safetensors"))
    single = _load(path=str(tmp_path / "model.safetensors"), config=str(tmp_path / "config"))
    # Not to the bit: the weights lie otherwise in memory, and kernels depend on it.
    assert torch.allclose(_prediction(single), _prediction(plain), atol=1e-5)
    assert torch.allclose(_image(single), _image(plain), atol=1e-5)


@pytest.mark.parametrize("option", ["vae_slicing", "channels_last"])
def test_option_changes_only_rounding(folder: Path, plain: Denoiser, option: str) -> None:
    other = _load(path=str(folder), **{option: True})
    assert torch.allclose(_prediction(other), _prediction(plain), atol=1e-5)
    assert torch.allclose(_image(other), _image(plain), atol=1e-5)


def test_tiling_of_a_small_image_changes_nothing(folder: Path, plain: Denoiser) -> None:
    assert torch.equal(_image(_load(path=str(folder), vae_tiling=True)), _image(plain))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"attention_backend": "flash"}, "attention_backend = 'flash'"),
        ({"attention_backend": "native"}, "always uses torch's own choice"),
    ],
    ids=str,
)
def test_option_that_a_model_does_not_have_is_rejected(
    folder: Path, fields: Mapping[str, Any], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        _load(path=str(folder), **fields)


def test_repeated_blocks_are_compiled_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    # The settings are of the process. Compiling itself takes minutes, so nothing is computed.
    settings: Any = torch._dynamo.config
    monkeypatch.setattr(settings, "recompile_limit", settings.recompile_limit)
    monkeypatch.setattr(settings, "fail_on_recompile_limit_hit", False)
    pipe = tiny_pipeline()
    apply_options(pipe, ModelConfig(name="tiny", path="model", compile="blocks"))
    compiled = {type(m).__name__ for m in pipe.unet.modules() if m._compiled_call_impl}
    assert compiled == {"BasicTransformerBlock"}
    assert settings.fail_on_recompile_limit_hit


def test_network_without_repeated_blocks_cannot_compile_them() -> None:
    pipe = hunyuan_dit()
    with pytest.raises(ModelError, match=r"compile = 'blocks' .*HunyuanDiT2DModel has no repeated"):
        apply_options(pipe, ModelConfig(name="tiny", path="model", compile="blocks"))


@pytest.mark.parametrize("offload", ["model", "sequential"])
def test_offloading_without_a_gpu_is_rejected(folder: Path, offload: Any) -> None:
    with pytest.raises(ModelError, match=r"\[cluster\].* this machine has none"):
        load_denoiser(resolve_model(ModelConfig(path=str(folder), name="tiny")), CPU, offload)
