"""A training run accepts only the model that made the pairs, from any folder."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState

from jobs.train_npnet import job
from pipeline.config.file import BUNDLED
from pipeline.config.model import ModelConfig
from pipeline.core.errors import ModelError, UserError
from pipeline.models.diffusers.resolved_model import resolve_model
from pipeline.models.load import load_text_encoder
from pipeline.models.model_identity import identity_of, model_in_folder
from pipeline.npnet import NPNet
from pipeline.npnet.origin import Origin
from pipeline.reader import Source
from pipeline.training.data import read_plans
from tests.models.diffusers.tiny import tiny_pipeline
from tests.sealed import CPU
from tests.training.tiny_sets import TinySet, tiny_set


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> TinySet:
    """Return pairs of a model whose folder has only half-precision files."""
    pipe = tiny_pipeline().to(torch.float16)
    made = tiny_set(tmp_path_factory.mktemp("half"), pipe, "fp16", height=32, width=32)
    files = [file.name for file in _folder(made).rglob("*.safetensors")]
    assert files and all(".fp16." in name for name in files)
    return made


@pytest.fixture(autouse=True)
def _reset_accelerator() -> Iterator[None]:
    yield
    # accelerate keeps one state per process, and the next test may need another one.
    AcceleratorState._reset_state(reset_partial_state=True)


def _folder(pairs: TinySet) -> Path:
    return Path(pairs.config.model.path or "")


def _train(pairs: TinySet, out: Path, **options: Any) -> Origin:
    job(data=pairs.url, out=out, width=16, steps=2, batch_size=4, **options)
    origin = NPNet.load(out).origin
    assert origin is not None
    return origin


def test_train_folder_of_half_precision_alone_is_the_model_of_the_configuration(
    pairs: TinySet, tmp_path: Path
) -> None:
    of_folder = _train(pairs, tmp_path / "folder", model=_folder(pairs))
    of_config = _train(pairs, tmp_path / "config", config=pairs.file)
    for name in ("config.json", "model.safetensors"):
        expected = (tmp_path / "config" / name).read_bytes()
        assert (tmp_path / "folder" / name).read_bytes() == expected

    ((sealed, manifest),) = read_plans(Source(pairs.url))
    assert of_folder == of_config
    assert of_folder.model == identity_of(resolve_model(pairs.config.model))
    assert of_folder.model.settings["digest"] == manifest.plan.settings.model.digest
    (data,) = of_folder.data
    assert (data.plan_id, data.version) == (manifest.plan_id, 1)
    assert (data.manifest_sha256, data.model_digest) == (sealed.sha256, of_folder.model.digest)
    assert of_folder.settings["steps"] == 2 and not of_folder.allow_other_model


def test_train_folder_with_several_variants_takes_that_of_the_plan(
    pairs: TinySet, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    tiny_pipeline().save_pretrained(folder)
    shutil.copytree(_folder(pairs), folder, dirs_exist_ok=True)
    planned = read_plans(Source(pairs.url))[0][1].plan.settings.model
    found = model_in_folder(folder, planned)
    assert found.config.variant == "fp16" and found.config.height == 32
    assert identity_of(found) == identity_of(resolve_model(pairs.config.model))
    another = planned.model_copy(update={"digest": "another"})
    assert model_in_folder(folder, another).config.variant is None


def test_train_half_precision_is_encoded_in_float32_on_the_cpu(pairs: TinySet) -> None:
    half = pairs.config.model.model_copy(update={"dtype": "float16"})
    embeds = load_text_encoder(resolve_model(half), CPU).embed(["a red circle"])
    assert embeds.dtype == torch.float32
    assert torch.equal(embeds, pairs.denoiser.encode_prompts(["a red circle"]).embeds)


def test_train_another_model_is_refused_with_both_digests(pairs: TinySet, tmp_path: Path) -> None:
    other = identity_of(resolve_model(ModelConfig(name="tiny", path=str(BUNDLED / "model"))))
    expected = identity_of(resolve_model(pairs.config.model))
    with pytest.raises(
        ModelError, match=rf"model {expected.digest}.*model {other.digest}.*--config"
    ):
        _train(pairs, tmp_path, model=BUNDLED / "model")
    assert not list(tmp_path.glob("*.safetensors"))
    allowed = _train(pairs, tmp_path, model=BUNDLED / "model", allow_other_model=True)
    assert allowed.allow_other_model and allowed.model == other
    assert allowed.data[0].model_digest == expected.digest
    assert json.loads((tmp_path / "config.json").read_text())["prompt_width"] == 128


def test_train_start_network_of_another_model_is_refused(pairs: TinySet, tmp_path: Path) -> None:
    _train(pairs, tmp_path / "first", model=_folder(pairs))
    described = json.loads((tmp_path / "first" / "config.json").read_text())
    described["origin"]["model"]["settings"]["digest"] = "another"
    (tmp_path / "first" / "config.json").write_text(json.dumps(described))
    with pytest.raises(ModelError, match=r"trained for 'tiny'.*give --allow-other-model"):
        _train(pairs, tmp_path / "next", model=_folder(pairs), init=tmp_path / "first")


@pytest.mark.parametrize("model", [{}, {"config": "demo", "model": Path("model")}])
def test_train_without_one_model_is_rejected(
    pairs: TinySet, tmp_path: Path, model: dict[str, Any]
) -> None:
    with pytest.raises(UserError, match="--config with the configuration of the build, or --model"):
        _train(pairs, tmp_path, **model)
