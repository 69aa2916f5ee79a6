"""Paths that cannot be used are one message before any work, in every argument that is a path."""

from pathlib import Path

import pytest

from pipeline.cli.app import app, run
from pipeline.cli.exit_codes import ExitCode

_OF_COMMANDS = {
    "plan": ["plan", "{path}"],
    "build": ["build", "{path}", "--out", "{out}"],
    "plan --dropped": ["plan", "demo", "--dropped", "{path}"],
    "build --out": ["build", "demo", "--out", "{path}"],
    "init": ["init", "demo", "{path}"],
    "evaluate --config": ["evaluate", "--config", "{path}", "--out", "{out}"],
    "evaluate --out": ["evaluate", "--config", "demo", "--out", "{path}"],
    "evaluate --prompts": ["evaluate", "--config", "demo", "--out", "{out}", "--prompts", "{path}"],
    "convert-reward": ["convert-reward", "hps_v2", "{path}", "{out}"],
    "convert-reward OUT": ["convert-reward", "hps_v2", "{out}", "{path}"],
    "repair --config": ["repair", "{out}", "--config", "{path}"],
}
"""Each command with one path that is wrong."""


@pytest.mark.parametrize("command", _OF_COMMANDS)
@pytest.mark.parametrize("wrong", ["file/below", "n" * 300])
def test_path_that_cannot_be_used_is_one_message(
    command: str, wrong: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    words = _OF_COMMANDS[command]
    filled = [word.format(path=tmp_path / wrong, out=tmp_path / "out") for word in words]
    with pytest.raises(SystemExit) as ended:
        run(app, filled)
    err = capsys.readouterr().err
    assert ended.value.code == ExitCode.NOT_TRIED, err
    assert err.count("error: ") == 1 and wrong in err
    assert "Errno" not in err
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
