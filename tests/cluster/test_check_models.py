"""A worker rejects files and code that differ from those of its plan."""

import sys
from pathlib import Path

import pytest

from pipeline.cluster.worker import check_models
from pipeline.core.errors import ModelError
from pipeline.models.resolved_models import ResolvedModels
from pipeline.workflows.plan import make_plan
from tests.sealed import changed, write_config


def test_check_models_refuses_a_custom_judge_with_other_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    code = tmp_path / "judge_of_workers.py"
    code.write_text("class Judge: ...")
    custom = {"name": "own", "kind": "custom", "entry": "judge_of_workers:Judge"}
    settings = changed(rewards=[{**custom, "code": str(tmp_path)}])
    config = write_config(tmp_path / "build", settings)
    plan = make_plan(config)[0]
    check_models(config, ResolvedModels(config), plan)
    code.write_text("class Judge: changed = True")
    with pytest.raises(ModelError, match=r"judge_of_workers:Judge: .*not those of the plan"):
        check_models(config, ResolvedModels(config), plan)
