"""A short selection of mutated data sets; ``python -m tests.fuzz`` reads as many as wanted."""

import subprocess
import sys

import pytest

_DEADLINE_S = 400


def test_mutated_sets_end_in_a_result_a_finding_or_an_error() -> None:
    # In a new process, because commands are forked and may not inherit threads.
    command = [sys.executable, "-m", "tests.fuzz", "--seed", "1", "--sets", "8"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=_DEADLINE_S)
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-4000:]
    assert "8 sets from seed 1:" in run.stdout
    assert " result" in run.stdout
    assert " error" in run.stdout


@pytest.mark.parametrize(("kind", "sets"), [("models", 3), ("prompts", 6)])
def test_mutated_folders_of_other_kinds_end_in_a_result_or_an_error(kind: str, sets: int) -> None:
    command = [sys.executable, "-m", "tests.fuzz", "--kind", kind, "--sets", str(sets)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=_DEADLINE_S)
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-4000:]
    assert f"{sets} sets from seed 1:" in run.stdout
    assert " error" in run.stdout
