"""The arguments of ``python -m jobs.build``."""

import inspect
from pathlib import Path

import pytest
import typer

from jobs import build as job
from pipeline.cli.build import build


def test_build_job_takes_the_arguments_of_npd_build() -> None:
    (command,) = job.app.registered_commands
    assert command.callback is build
    assert "config" in inspect.signature(build).parameters


@pytest.mark.parametrize(
    "spelling", [["build.toml"], ["--config", "build.toml"], ["--config=build.toml"]]
)
def test_build_job_accepts_the_former_config_option(
    spelling: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        job.main([*spelling, "--out", str(tmp_path / "out")])
    assert ended.value.code == 2
    assert "build.toml: no such configuration file" in capsys.readouterr().err
    assert typer.main.get_command(job.app).params[0].name == "config"
