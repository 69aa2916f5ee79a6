"""What a process does not need it does not import: seconds of every start and restart."""

import json
import subprocess
import sys

import pytest

HEAVY = {"accelerate", "diffusers", "scipy", "torch", "transformers"}

DEADLINE_S = 300


@pytest.mark.parametrize(
    ("modules", "expected"),
    [
        (["pipeline.cli.app", "pipeline.config.file", "pipeline.publish.compact"], set()),
        # Workers load models and the driver does not, though it has to name their class.
        (["pipeline.workflows.build", "pipeline.workflows.repair", "jobs.build"], {"torch"}),
    ],
    ids=["command line", "driver"],
)
def test_no_process_imports_what_another_needs(modules: list[str], expected: set[str]) -> None:
    code = f"import json, sys, {', '.join(modules)}; print(json.dumps([*sys.modules]))"
    command = [sys.executable, "-c", code]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=DEADLINE_S)
    assert HEAVY & set(json.loads(said.stdout)) == expected
