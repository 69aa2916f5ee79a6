"""Files for Hugging Face Jobs and SkyPilot, read by these tools themselves."""

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.core import TyperGroup

from pipeline.cli.app import app
from tests.infra.files import INFRA

HF_JOB = INFRA / "hf-jobs" / "build.sh"
IMAGE = "registry.example.com/npd:0.1.0"
SKY_TASK = INFRA / "skypilot" / "build.yaml"


def _hf_job(
    folder: Path, *, script: Path = HF_JOB, changes: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run the script; ``--dry-run`` prints what would be submitted, and asks no server."""
    secrets = folder / "storage.env"
    secrets.write_text("AWS_ACCESS_KEY_ID=key\n", encoding="utf-8")
    secrets.chmod(0o600)
    given = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "HOME": str(folder),
        "HF_HUB_OFFLINE": "1",
        "FLAVOR": "l40sx4",
        "IMAGE": IMAGE,
        "INPUTS": "hf://buckets/user/inputs",
        **(changes or {}),
    }
    return subprocess.run(
        ["sh", str(script), "s3://bucket/prefix", "--dry-run"],
        cwd=folder,
        env=given,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_hugging_face_job_is_what_its_client_would_submit(tmp_path: Path) -> None:
    ended = _hf_job(tmp_path)
    assert ended.returncode == 0, ended.stderr
    shown = dict(
        line.split(maxsplit=1) for line in ended.stdout.splitlines() if " " in line.strip()
    )
    assert shown["image"] == "registry.example.com/npd:0.1.0"
    assert shown["flavor"] == "l40sx4"
    assert shown["attempts"] == "20"
    assert shown["secrets"] == "AWS_ACCESS_KEY_ID=***"
    assert shown["volumes"] == "hf://buckets/user/inputs:/inputs:ro"
    _check_build(shown["command"])


def test_wrong_option_of_a_hugging_face_job_is_found(tmp_path: Path) -> None:
    """The client takes an option that it does not know for the image."""
    careless = tmp_path / "build.sh"
    careless.write_text(HF_JOB.read_text(encoding="utf-8").replace("--attempts", "--attempt"))
    assert _shown(_hf_job(tmp_path, script=careless))["image"] != IMAGE


@pytest.mark.parametrize("name", ["FLAVOR", "IMAGE", "INPUTS"])
def test_missing_setting_of_a_hugging_face_job_is_named(tmp_path: Path, name: str) -> None:
    ended = _hf_job(tmp_path, changes={name: ""})
    assert ended.returncode != 0
    assert f"{name}: " in ended.stderr


def test_skypilot_task_is_valid() -> None:
    """With SkyPilot's own schema, where it is installed: it has a hundred dependencies."""
    schemas = pytest.importorskip("sky.utils.schemas", reason="pip install skypilot")
    jsonschema = pytest.importorskip("jsonschema")
    task = _sky_task()
    checked = {"get_task_schema": task, "get_resources_schema": task["resources"]}
    for name, value in checked.items():
        schema = getattr(schemas, name)()
        validator = jsonschema.validators.validator_for(schema)(schema)
        assert [*validator.iter_errors(value)] == [], name


def test_skypilot_task_builds_what_it_mounts() -> None:
    task = _sky_task()
    program, *words = shlex.split(task["run"].replace("$STORE", "s3://bucket/prefix"))[1:]
    assert program == "~/npd/bin/npd"
    _check_build(shlex.join(["npd", *words]))
    assert set(task["file_mounts"]) == {"/inputs"}
    assert set(task["secrets"].values()) == {None}, "secrets are given at the command line"
    assert task["envs"]["STORE"] is None


def _shown(ended: "subprocess.CompletedProcess[str]") -> dict[str, str]:
    """Return the fields of a job as the client prints them."""
    lines = (line.strip().split(maxsplit=1) for line in ended.stdout.splitlines())
    return {words[0]: words[1] for words in lines if len(words) == 2}


def _sky_task() -> dict[str, Any]:
    task: dict[str, Any] = yaml.safe_load(SKY_TASK.read_text(encoding="utf-8"))
    return task


def _check_build(command: str) -> None:
    """Parse a command as ``npd`` does."""
    name, build, *arguments = shlex.split(command)
    assert (name, build) == ("npd", "build")
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    context = group.make_context("npd", ["build", *arguments])
    given = group.commands["build"].make_context("build", arguments, parent=context).params
    assert (given["config"], given["out"]) == ("/inputs/build.toml", "s3://bucket/prefix")
