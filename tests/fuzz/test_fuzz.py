"""A short selection of mutated data sets; ``python -m tests.fuzz`` reads as many as wanted."""

import re
import subprocess
import sys
from pathlib import Path

from tests.sealed import built, sealed_folder

__all__ = ["built", "sealed_folder"]

_DEADLINE_S = 400
_SETS = 6


def test_mutated_sets_and_folders_end_in_a_result_a_finding_or_an_error(
    sealed_folder: Path,
) -> None:
    # In a new process, because commands are forked and may not inherit threads. All kinds are in
    # one, because it imports diffusers.
    kinds = ("stores", "models", "prompts")
    command = [sys.executable, "-m", "tests.fuzz", "--kind", *kinds, "--sets", str(_SETS)]
    run = subprocess.run(
        [*command, "--base", str(sealed_folder)],
        capture_output=True,
        text=True,
        timeout=_DEADLINE_S,
    )
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-4000:]
    for kind in kinds:
        counts = re.search(rf"{kind}: {_SETS} sets from seed 1: (.*)", run.stdout)
        assert counts is not None, run.stdout
        assert " error" in counts[1]
        assert " result" in counts[1]
