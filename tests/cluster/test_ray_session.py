"""A local Ray that starts too slowly, and errors for a Ray that is lost later."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.exceptions import AuthenticationError, RayError, RpcError

from pipeline.cluster.ray_session import _start_ray, ray_failures_named, ray_session
from pipeline.config.sections import ClusterConfig
from pipeline.core.errors import BuildError, ClusterError
from tests.environments import can_mount, in_fork, mount_memory

# The message of Ray 2.60. A test cannot make the machine busy enough to cause it.
TOO_SLOW = "The current node timed out during startup. This could happen because"


class Starts:
    """Replaces ``ray.init``; raises these errors one after the other, then succeeds."""

    def __init__(self, errors: list[str]) -> None:
        self.errors = errors
        self.count = 0

    def __call__(self, **options: Any) -> None:
        self.count += 1
        if self.errors:
            raise Exception(self.errors.pop(0))


def _start(monkeypatch: pytest.MonkeyPatch, *errors: str) -> Starts:
    starts = Starts([*errors])
    monkeypatch.setattr(ray, "init", starts)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    return starts


def test_ray_that_started_too_slowly_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    starts = _start(monkeypatch, TOO_SLOW, TOO_SLOW)
    with ray_session(ClusterConfig(workers=1)):
        assert starts.count == 3


@pytest.mark.parametrize(("errors", "count"), [([TOO_SLOW] * 3, 3), (["no such option"], 1)])
def test_ray_that_cannot_start_is_an_error(
    monkeypatch: pytest.MonkeyPatch, errors: list[str], count: int
) -> None:
    starts = _start(monkeypatch, *errors)
    with pytest.raises(Exception, match=errors[-1][:20]), ray_session(ClusterConfig(workers=1)):
        pass
    assert starts.count == count


def _start_on_a_full_disk(folder: Path) -> str:
    mount_memory(folder, 64 * 1024)
    os.environ["RAY_TMPDIR"] = str(folder)
    with pytest.raises(ClusterError) as raised:
        _start_ray(1)
    return str(raised.value)


def test_ray_on_a_full_disk_names_the_folder_at_once(tmp_path: Path) -> None:
    if not can_mount(tmp_path):
        pytest.skip("this user may not mount a file system, even for one process alone")
    message = in_fork(_start_on_a_full_disk, tmp_path)
    assert f"{tmp_path}/ray" in message and "RAY_TMPDIR" in message
    assert f"65,536 bytes free in {tmp_path}" in message


# Messages of Ray 2.60 after `kill -9` of a head, started again at the same port or not.
RESTARTED = "RPC error: WrongClusterID: Perhaps the client is accessing GCS after it has restarted."
GONE = "Failed to connect to GCS"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (AuthenticationError(RESTARTED), "the head of the Ray cluster was restarted"),
        (RpcError(GONE), f"RpcError: {GONE}"),
    ],
)
def test_a_lost_head_is_named(error: RayError, text: str) -> None:
    with pytest.raises(BuildError, match=text) as raised, ray_failures_named():
        raise error
    assert "token" not in str(raised.value) and "the same command" in str(raised.value)


def test_a_node_that_died_ends_a_build_with_an_error() -> None:
    lost = subprocess.run(
        [sys.executable, "-m", "tests.cluster.lost_node"],
        env={name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    # Ray prints to standard output too.
    starts = ("result: ", "run_task: ", "wait_for_the_loss: ")
    result, task, loss = [line for line in lost.stdout.splitlines() if line.startswith(starts)]
    assert result == "result: ['1']", lost.stderr
    assert "run_task: Ray has failed (LocalRayletDiedError" in task
    assert "wait_for_the_loss: Ray reports the node of this machine as dead" in loss
    assert "the same command" in task and "the same command" in loss
    # Before Ray ends the process with a message that names no remedy.
    warning = "the head of the Ray cluster does not answer; Ray ends this process"
    assert warning in lost.stderr and lost.returncode != 0
