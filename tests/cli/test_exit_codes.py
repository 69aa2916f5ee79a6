"""Exit codes: one table, and one code for one error in every command."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.cli.app import app, run
from pipeline.cli.exit_codes import ExitCode, exit_code_of
from pipeline.core.errors import (
    AccessDeniedError,
    BuildError,
    ConfigError,
    NPDError,
    PermanentStoreError,
    RetryableStoreError,
    StoreFullError,
    UserError,
    VerificationError,
)

_OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"

ON_A_PLACE = [
    ["status", "{place}"],
    ["verify", "{place}"],
    ["report", "{place}"],
    ["export", "{place}", "{out}", "--format", "hf"],
    ["select", "{place}", "--margin", "scene=0.1"],
    ["prune", "{place}"],
    ["repair", "{place}"],
    ["gc", "{place}"],
]


def test_documented_table_has_every_code() -> None:
    section = _OPERATIONS.read_text(encoding="utf-8").split("### Exit codes")[1].split("\n## ")[0]
    documented = [int(code) for code in re.findall(r"^\| (\d+) \|", section, re.MULTILINE)]
    assert documented == [*ExitCode]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UserError("input"), ExitCode.NOT_TRIED),
        (ConfigError("a configuration"), ExitCode.NOT_TRIED),
        (PermanentStoreError("no bucket"), ExitCode.NOT_TRIED),
        (AccessDeniedError("no permission"), ExitCode.NOT_TRIED),
        (StoreFullError("no room"), ExitCode.PROBLEM),
        (RetryableStoreError("a time-out"), ExitCode.PROBLEM),
        (VerificationError("damage"), ExitCode.PROBLEM),
        (BuildError("a unit"), ExitCode.PROBLEM),
    ],
)
def test_code_of_an_error(error: NPDError, code: ExitCode) -> None:
    assert exit_code_of(error) is code


@pytest.mark.parametrize("arguments", ON_A_PLACE, ids=lambda arguments: arguments[0])
@pytest.mark.parametrize("place", ["absent", "a file"])
def test_place_without_data_set_has_one_code_in_every_command(
    arguments: list[str], place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a file").touch()
    filled = [word.format(place=tmp_path / place, out=tmp_path / "out") for word in arguments]
    with pytest.raises(SystemExit) as ended:
        run(app, filled)
    assert ended.value.code == ExitCode.NOT_TRIED
    # A URL writes the space of the name as %20.
    err = capsys.readouterr().err.replace("%20", " ")
    assert err.count("error: ") == 1
    assert str(tmp_path / place) in err
    assert not (tmp_path / "out").exists()


def test_closed_pipe_ends_a_command_without_a_message() -> None:
    """``npd options | true``, with a reader that has ended before the first byte."""
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", "options"],
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (ExitCode.PIPE_CLOSED, b"")
