"""A local Ray is started again if the machine was too busy, and only then."""

import os
from pathlib import Path
from typing import Any

import pytest
import ray

from pipeline.cluster.ray_session import _start_ray, ray_session
from pipeline.config.sections import ClusterConfig
from pipeline.core.errors import ClusterError
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
