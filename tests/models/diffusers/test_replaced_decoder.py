"""Another decoder for a model ([model.vae]): loaded, part of the plan, and of the same latents."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from pydantic import ValidationError
from torch import Tensor

from pipeline.config.file import load_config
from pipeline.config.model import ModelConfig
from pipeline.config.plan import PlannedModel
from pipeline.core.errors import ModelError
from pipeline.costs.plan_costs import missing_models
from pipeline.diffusion.denoiser import Denoiser
from pipeline.models.diffusers.resolved_model import resolve_model
from pipeline.models.load import load_denoiser
from pipeline.models.model_identity import model_settings, planned_identity, with_digests
from tests.models.diffusers.tiny import edit, save_tiny_pipeline, tiny_pipeline
from tests.sealed import SETTINGS, changed, write_config


def _decoder(**changes: Any) -> Any:
    """Return a decoder with other weights than the tiny pipeline's."""
    torch.manual_seed(1)
    config = {name: value for name, value in tiny_pipeline().vae.config.items() if name[0] != "_"}
    return AutoencoderKL(**config | changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_pipeline(tmp_path_factory.mktemp("model"))


@pytest.fixture
def other(tmp_path: Path) -> Path:
    _decoder(force_upcast=False).save_pretrained(tmp_path / "other")
    return tmp_path / "other"


def _model(folder: Path, decoder: Path, **fields: Any) -> ModelConfig:
    return ModelConfig(name="tiny", path=str(folder), vae={"path": str(decoder), **fields})  # type: ignore[arg-type]  # pydantic converts it


def _load(model: ModelConfig) -> Denoiser:
    return load_denoiser(resolve_model(model), torch.device("cpu"))


def _image(denoiser: Denoiser) -> Tensor:
    latents = torch.randn(1, *denoiser.latent_shape, generator=torch.Generator().manual_seed(0))
    return denoiser.decode(latents)


def _planned(model: ModelConfig) -> PlannedModel:
    return with_digests(model_settings(model), resolve_model(model))


def test_images_are_those_of_the_other_decoder(folder: Path, other: Path, tmp_path: Path) -> None:
    expected = shutil.copytree(folder, tmp_path / "expected")
    shutil.rmtree(expected / "vae")
    shutil.copytree(other, expected / "vae")
    with_other = _image(_load(_model(folder, other)))
    assert torch.equal(with_other, _image(_load(ModelConfig(name="tiny", path=str(expected)))))
    plain = _image(_load(ModelConfig(name="tiny", path=str(folder))))
    assert not torch.allclose(with_other, plain, atol=1e-3)


def test_variant_of_its_weights(folder: Path, tmp_path: Path) -> None:
    _decoder().save_pretrained(tmp_path / "both")
    _decoder(force_upcast=False).save_pretrained(tmp_path / "both", variant="fp16")
    loaded = _load(_model(folder, tmp_path / "both", variant="fp16"))
    assert torch.equal(_image(loaded), _image(_load(_model(folder, tmp_path / "both"))))
    with pytest.raises(ModelError, match=r"diffusion_pytorch_model\.bf16\.safetensors: no such"):
        _load(_model(folder, tmp_path / "both", variant="bf16"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"scaling_factor": 0.13025},
            r"scaling_factor = 0.13025, but that of .*/model\d+ has 0.18215",
        ),
        ({"shift_factor": 0.1}, r"shift_factor = 0.1, but that of .*/model\d+ has None"),
        ({"latent_channels": 16}, r"latent_channels = 16, but that of .*/model\d+ has 4"),
        (
            {
                "block_out_channels": (8, 8, 8),
                "down_block_types": ("DownEncoderBlock2D",) * 3,
                "up_block_types": ("UpDecoderBlock2D",) * 3,
            },
            r"block_out_channels = 3 levels, but .*/model\d+ has 2 levels",
        ),
    ],
    ids=["scale", "shift", "channels", "size"],
)
def test_decoder_of_other_latents_is_rejected_with_both_named(
    folder: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    _decoder(**changes).save_pretrained(tmp_path / "vae")
    with pytest.raises(ModelError, match=f"{tmp_path / 'vae'}.*{message}"):
        _load(_model(folder, tmp_path / "vae"))


def test_decoder_of_another_class_is_rejected(folder: Path, other: Path) -> None:
    edit(other / "config.json", _class_name="AutoencoderTiny")
    with pytest.raises(ModelError, match=r"is 'AutoencoderTiny', but .*'AutoencoderKL'"):
        _load(_model(folder, other))


def test_link_out_of_its_folder_and_a_missing_file_are_rejected(folder: Path, other: Path) -> None:
    config = (other / "config.json").rename(other.parent / "elsewhere.json")
    with pytest.raises(ModelError, match=r"config\.json: no such file; \[model\.vae\]"):
        _planned(_model(folder, other))
    (other / "config.json").symlink_to(config)
    with pytest.raises(ModelError, match="outside of"):
        _planned(_model(folder, other))


def test_plan_has_its_digest_and_no_path(folder: Path, other: Path) -> None:
    planned = _planned(_model(folder, other))
    plain = _planned(ModelConfig(name="tiny", path=str(folder)))
    assert str(other) not in planned.model_dump_json()
    assert planned.digest == plain.digest and "vae" not in plain.model_dump(exclude_unset=True)
    # A noise prompt network works in latents, so it may be used with either decoder.
    assert planned_identity(planned) == planned_identity(plain)
    edit(other / "config.json", force_upcast=True)
    assert _planned(_model(folder, other)).vae != planned.vae
    stored = planned.model_dump(mode="json", exclude_unset=True)
    assert PlannedModel.model_validate(stored) == planned


def test_file_is_relative_to_the_configuration_and_missing_files_are_reported(
    tmp_path: Path,
) -> None:
    model = {**SETTINGS["model"], "vae": {"path": "decoder"}}
    config = write_config(tmp_path, changed(model=model), prompts=["a red circle"])
    assert config.model.vae is not None and config.model.vae.path == str(tmp_path / "decoder")
    assert ["no such model folder" in str(error) for error in missing_models(config)] == [True]


@pytest.mark.parametrize("fields", [{}, {"path": "a", "file": "b.safetensors"}])
def test_section_needs_a_folder(fields: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match=r"\[model\.vae\]"):
        ModelConfig(name="tiny", path="model", vae=fields)  # type: ignore[arg-type]  # as above


def test_recipe_shows_a_section_that_is_valid(tmp_path: Path) -> None:
    recipe = Path("pipeline/recipes/sdxl.toml").read_text()
    shown = recipe.split("# [model.vae]")[1].split("\n\n")[0]
    lines = ["[model.vae]", *(line.removeprefix("# ") for line in shown.splitlines()[1:])]
    text = recipe.replace(f"# [model.vae]{shown}", "\n".join(lines))
    (tmp_path / "sdxl.toml").write_text(text)
    vae = load_config(tmp_path / "sdxl.toml").model.vae
    assert vae is not None and vae.hub == "madebyollin/sdxl-vae-fp16-fix"
