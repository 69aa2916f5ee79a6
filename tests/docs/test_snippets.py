"""The code in README and docs works as it is written."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer
from accelerate.state import AcceleratorState, GradientState
from typer import TyperException
from typer._click.exceptions import NoSuchOption
from typer.core import TyperGroup

from jobs import build as build_job
from jobs import train_npnet
from pipeline.cli.app import app as cli
from pipeline.npnet import NPNet
from pipeline.npnet.config import SmallLayout
from tests.docs.markdown import FILES, ROOT, code_blocks, commands, mentions

WITH_PYTHON = [file for file in FILES if code_blocks(file.read_text("utf-8"), "python")]


def _name(file: Path) -> str:
    return str(file.relative_to(ROOT))


@pytest.fixture
def checkout(
    tmp_path: Path, sealed_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A folder with a demo data set and a trained network."""
    (tmp_path / "out").mkdir()
    shutil.copytree(sealed_folder, tmp_path / "out" / "demo")
    (tmp_path / "pipeline").symlink_to(ROOT / "pipeline")
    layout = SmallLayout(latent_shape=(4, 8, 8), prompt_width=128)
    NPNet.new(layout, seed=0).save(tmp_path / "npnet")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    yield tmp_path
    # accelerate keeps one state a process, which other tests set up differently.
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


@pytest.mark.usefixtures("checkout")
@pytest.mark.parametrize("file", WITH_PYTHON, ids=_name)
def test_python_blocks_of_a_file_run_in_order(file: Path) -> None:
    namespace: dict[str, object] = {"__name__": "snippet"}
    for number, block in enumerate(code_blocks(file.read_text("utf-8"), "python")):
        exec(compile(block, f"{_name(file)}, block {number}", "exec"), namespace)


def _app(job: Callable[..., None]) -> typer.Typer:
    app = typer.Typer()
    app.command()(job)
    return app


_APPS = {
    ("npd",): cli,
    ("python", "-m", "jobs.build"): build_job.app,
    ("python", "-m", "jobs.train_npnet"): _app(train_npnet.job),
}


def _options(command: TyperGroup) -> set[str]:
    return {name for parameter in command.params for name in parameter.opts}


def _understood(words: list[str]) -> bool:
    """Parse a command as its program does; return False if it is not one of ours."""
    # Capitals and an ellipsis are placeholders. `--help` ends the program.
    if {"…", "COMMAND", "--help"} & set(words):
        return False
    for program, app in _APPS.items():
        if tuple(words[: len(program)]) == program and words[len(program) :]:
            command, arguments = typer.main.get_command(app), words[len(program) :]
            if isinstance(command, TyperGroup):
                if arguments[0] in _options(command):
                    return True
                command, arguments = command.commands[arguments[0]], arguments[1:]
            if arguments:  # else the sentence only names the command
                command.make_context(words[0], [*arguments])
            return True
    return False


@pytest.mark.parametrize("file", [*FILES, ROOT / "infra" / "README.md"], ids=_name)
def test_commands_of_a_file_are_understood(file: Path) -> None:
    text, wrong = file.read_text("utf-8"), []
    for words in commands(text):
        try:
            _understood(words)
        except (TyperException, KeyError) as error:
            wrong.append((words, str(error)))
    for words in mentions(text):
        try:
            _understood(words)
        except (NoSuchOption, KeyError) as error:
            wrong.append((words, str(error)))
        except TyperException:
            continue  # a mention need not be complete, but its names must exist
    assert wrong == []


def test_commands_are_found_and_a_wrong_one_is_not_understood() -> None:
    found = [
        words for words in commands((ROOT / "README.md").read_text("utf-8")) if _understood(words)
    ]
    assert ["npd", "init", "sdxl", "my.toml"] in found
    with pytest.raises(TyperException):
        _understood(["npd", "build", "my.toml", "--oot", "x"])
    with pytest.raises(KeyError):
        _understood(["npd", "biuld"])


@pytest.mark.parametrize(
    "target", ["demo", "demo-train", "demo-s3", "test", "test-fast", "check", "docs"]
)
def test_make_targets_that_docs_name_exist(target: str) -> None:
    subprocess.run(
        ["make", "--dry-run", target, f"PYTHON={sys.executable}"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
