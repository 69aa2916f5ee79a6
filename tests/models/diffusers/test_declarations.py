"""Models whose files contradict each other."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from pipeline.config.model import ModelConfig
from pipeline.core.errors import ModelError
from pipeline.diffusion.denoiser import Denoiser
from pipeline.models.diffusers.resolved_model import resolve_model
from pipeline.models.load import load_denoiser
from tests.models.diffusers.families.tiny_pipelines import vae
from tests.models.diffusers.original_layout import original_checkpoint
from tests.models.diffusers.tiny import save_tiny_pipeline, tiny_pipeline

MARK = torch.ones(())
Change = Callable[[Path], None]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_pipeline(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    return original_checkpoint(tiny_pipeline())


def _load(**fields: Any) -> Denoiser:
    return load_denoiser(resolve_model(ModelConfig(name="tiny", **fields)), torch.device("cpu"))


def _prediction(**options: Any) -> dict[str, Any]:
    return {"scheduler": {"options": {"prediction_type": "v_prediction", **options}}}


@pytest.mark.parametrize(
    ("marks", "metadata", "message"),
    [
        (("v_pred",), {}, r'mark v_pred.*prediction_type = "v_prediction"'),
        ((), {"modelspec.prediction_type": "v"}, r"'v_prediction' by modelspec.prediction_type"),
        (("edm_vpred.sigma_max",), {}, "EDM"),
    ],
)
def test_single_file_for_another_prediction_is_rejected(
    marks: tuple[str, ...],
    metadata: dict[str, str],
    message: str,
    folder: Path,
    weights: dict[str, Tensor],
    tmp_path: Path,
) -> None:
    file = tmp_path / "model.safetensors"
    save_file(weights | {name: MARK.clone() for name in marks}, file, metadata)
    with pytest.raises(ModelError, match=message):
        _load(path=str(file), config=str(folder))


def test_marks_that_agree_with_the_scheduler_are_accepted(
    folder: Path, weights: dict[str, Tensor], tmp_path: Path
) -> None:
    file = tmp_path / "model.safetensors"
    marks = {"v_pred": MARK.clone(), "ztsnr": MARK.clone()}
    save_file(weights | marks, file, {"modelspec.prediction_type": "v"})
    with pytest.raises(ModelError, match="rescale_betas_zero_snr = true"):
        _load(path=str(file), config=str(folder), **_prediction())
    options = _prediction(rescale_betas_zero_snr=True)
    model = _load(path=str(file), config=str(folder), **options)
    assert model.schedule(4).prediction == "v_prediction"


def test_single_file_of_noise_predictions_beside_a_v_configuration_is_rejected(
    folder: Path, weights: dict[str, Tensor], tmp_path: Path
) -> None:
    file = tmp_path / "model.safetensors"
    save_file(weights, file, {"modelspec.prediction_type": "epsilon"})
    _load(path=str(file), config=str(folder))
    with pytest.raises(ModelError, match=r"'epsilon' by modelspec.prediction_type"):
        _load(path=str(file), config=str(folder), **_prediction())


def test_file_of_another_architecture_is_rejected(
    folder: Path, weights: dict[str, Tensor], tmp_path: Path
) -> None:
    file, other = tmp_path / "model.safetensors", "stable-diffusion-xl-v1-base"
    save_file(weights, file, {"modelspec.architecture": other})
    with pytest.raises(ModelError, match=f"for '{other}'"):
        _load(path=str(file), config=str(folder))
    lora = tmp_path / "lora.safetensors"
    save_file({"a.lora_A.weight": MARK}, lora, {"modelspec.architecture": f"{other}/lora"})
    with pytest.raises(ModelError, match=f"for '{other}/lora'"):
        _load(path=str(folder), loras=({"path": str(lora)},))


def _another_scheduler(folder: Path) -> None:
    path = folder / "scheduler" / "scheduler_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"_class_name": "EulerDiscreteScheduler"}))


def _another_decoder(folder: Path) -> None:
    vae(channels=3).save_pretrained(folder / "vae")


def _another_text_encoder(folder: Path) -> None:
    config = CLIPTextConfig.from_pretrained(folder / "text_encoder")
    config.hidden_size = 16
    CLIPTextModel(config).save_pretrained(folder / "text_encoder")


def _another_network(folder: Path) -> None:
    """Replace the network by one with nine input channels, as for inpainting."""
    config = UNet2DConditionModel.load_config(folder / "unet")
    UNet2DConditionModel.from_config(config, in_channels=9).save_pretrained(folder / "unet")


def _more_tokens(folder: Path) -> None:
    tokenizer = tiny_pipeline().tokenizer
    tokenizer.add_tokens(["<my-style>"])
    tokenizer.save_pretrained(folder / "tokenizer")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_another_scheduler, "'EulerDiscreteScheduler', and .* names 'DDIMScheduler'"),
        (_another_decoder, "reads 4 channels, but the latents of AutoencoderKL have 3"),
        (_another_text_encoder, "cross_attention_dim 32, but text_encoder gives 16"),
        (_another_network, "reads 9 channels"),
        (_more_tokens, "tokenizer has 37 tokens, but its text encoder knows 36"),
    ],
)
def test_folder_of_several_models_is_rejected(
    change: Change, message: str, folder: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(folder, tmp_path / "model")
    change(other)
    with pytest.raises(ModelError, match=message):
        _load(path=str(other))
