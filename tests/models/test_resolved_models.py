"""Models of a configuration are located once in a command, and never sent to another machine."""

import pickle
import shutil
from pathlib import Path
from unittest.mock import Mock

import pytest

from pipeline.config.file import BUNDLED, load_config
from pipeline.config.model import ModelConfig
from pipeline.models.diffusers.model_index import read_index
from pipeline.models.diffusers.resolved_model import resolve_model
from pipeline.models.resolved_models import ResolvedModels
from pipeline.models.source import locate
from pipeline.workflows.plan import make_plan


def test_plan_locates_the_model_and_reads_its_index_once(monkeypatch: pytest.MonkeyPatch) -> None:
    functions = [Mock(wraps=function) for function in (locate, read_index)]
    for name, function in zip(("locate", "read_index"), functions, strict=True):
        monkeypatch.setattr(f"pipeline.models.diffusers.resolved_model.{name}", function)
    config = load_config("demo")
    # Needs the tokenizers too, so prompts and plan both read the model's files.
    prompts = config.prompts.model_copy(update={"too_long": "drop"})
    make_plan(config.model_copy(update={"prompts": prompts}))
    assert [function.call_count for function in functions] == [1, 1]


def test_digest_is_kept_and_a_new_command_reads_the_files_again(tmp_path: Path) -> None:
    folder = shutil.copytree(BUNDLED / "model", tmp_path / "model")
    config = ModelConfig(name="demo", path=str(folder))
    model = resolve_model(config)
    before = model.digest
    (folder / "tokenizer" / "more.txt").write_text("another file")
    assert model.digest == before
    assert resolve_model(config).digest != before


def test_resolved_models_cannot_be_sent_to_another_process() -> None:
    models = ResolvedModels(load_config("demo"))
    for resolved in (models, models.model, *models.rewards):
        with pytest.raises(TypeError, match="is of this machine; send its configuration"):
            pickle.dumps(resolved)
