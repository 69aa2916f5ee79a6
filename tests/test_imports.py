"""Processes do not import heavy packages that they do not need, which saves seconds per start."""

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
        # The driver refers to the class of the workers, but only workers load models.
        (["pipeline.workflows.build", "pipeline.workflows.repair", "jobs.build"], {"torch"}),
    ],
    ids=["command line", "driver"],
)
def test_process_imports_no_unneeded_packages(modules: list[str], expected: set[str]) -> None:
    code = f"import json, sys, {', '.join(modules)}; print(json.dumps([*sys.modules]))"
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, check=True, capture_output=True, text=True, timeout=DEADLINE_S)
    assert HEAVY & set(json.loads(ended.stdout)) == expected
