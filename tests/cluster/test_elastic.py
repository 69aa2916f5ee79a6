"""Machines join and leave in the middle of a build."""

import json
import re
import subprocess
import sys
from pathlib import Path

DEADLINE_S = 300


def test_machines_that_come_are_used_and_those_that_go_cost_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.cluster.elastic_cluster", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S)
    assert ended.returncode == 0, ended.stderr
    # Ray prints to standard output too.
    seen = json.loads(ended.stdout.splitlines()[-1])
    assert seen["machines_at_first"] == 1
    # The script would not end if lost machines still received units, or if only one were left.
    assert seen["machines_at_last"] == 2
    # max_attempts is 1, so units that were lost with their machine did not count as failures.
    assert seen["done"] == seen["sent"] > 100
    assert seen["done_twice"] == 0
    assert seen["cancelled_at_the_end"], "workers that still waited would hold GPUs later"
    assert seen["free_after_the_end"]
    assert "is replaced, because its machine is drained" in ended.stderr
    assert re.search(r"worker .* (cannot be reached|died with its machine)", ended.stderr)
