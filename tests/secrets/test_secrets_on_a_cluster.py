"""A build on a real cluster into a real S3 server leaves no secret in stores, logs and state."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.storage.seaweedfs import SeaweedFS
from pipeline.storage.open import open_store
from tests import sealed
from tests.jobs.ray_head import RayHead, submit
from tests.secrets.canaries import Canaries, canary

SETTINGS = sealed.changed(
    prompts={"seeds_per_prompt": 1}, units={"size": 12, "batch_size": 4}, output={"images": "none"}
)
STATES = ("actors", "jobs", "nodes", "tasks", "workers", "runtime_envs")
DEADLINE_S = 300


@dataclass(frozen=True)
class Cluster:
    """A head whose machine has the secrets, and a client that has only its token."""

    head: RayHead
    client_env: dict[str, str]
    canaries: Canaries

    def outputs_of_jobs(self, *commands: Sequence[object]) -> list[tuple[int, str]]:
        """Return the exit status and all output of each command. All are submitted at once."""
        with ExitStack() as jobs:
            running = [jobs.enter_context(submit(self.client_env, *each)) for each in commands]
            outputs = [job.communicate(timeout=DEADLINE_S)[0] for job in running]
        return [(job.returncode, output) for job, output in zip(running, outputs, strict=True)]


@pytest.fixture
def cluster(
    s3_server: SeaweedFS, s3_env: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Cluster]:
    elsewhere = canary("elsewhere")
    monkeypatch.setenv("HF_TOKEN", elsewhere)  # not needed here, but set on many machines
    with tempfile.TemporaryDirectory(prefix="npd-ray-") as folder, RayHead(Path(folder)) as head:
        client_env = head.client_env()
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN"):
            del client_env[name]
        head.wait_until_ready()
        canaries = Canaries(
            {
                "key": s3_server.access_key,
                "secret": s3_server.secret_key,
                "elsewhere": elsewhere,
                "token": head.token_path.read_text(),
            }
        )
        yield Cluster(head, client_env, canaries)


def test_build_leaves_no_secret_in_store_logs_and_state(
    cluster: Cluster, s3_url: str, tmp_path: Path
) -> None:
    sealed.write_config(tmp_path, SETTINGS)
    build = ("python", "-m", "jobs.build", "--config", tmp_path / "build.toml", "--workers", 1)
    (code, output), (failed_code, failed) = cluster.outputs_of_jobs(
        (*build, "--out", s3_url), (*build, "--out", "s3://no-such-bucket/prefix")
    )
    assert code == 0, output
    assert failed_code == 1
    assert "NoSuchBucket" in failed

    canaries, head = cluster.canaries, cluster.head
    assert canaries.in_text(output + failed) == []
    store = open_store(s3_url)
    assert {info.key.split("/")[0] for info in store.list("")} >= {"receipts", "units", "_SUCCESS"}
    assert canaries.in_store(store) == []
    assert canaries.in_folder(head.directory, but=(head.token_path,)) == []

    states = {name: head.state(name) for name in STATES}
    assert b"WorkerActor" in states["actors"]
    assert b"CUBLAS_WORKSPACE_CONFIG" in states["actors"], "runtime_env is included"
    assert b"compact" in states["tasks"]
    assert b"jobs.build" in states["jobs"]
    assert [name for name, state in states.items() if canaries.in_bytes(state)] == []
    listed = _ray_list_actors(cluster.client_env)
    assert "WorkerActor" in listed
    assert canaries.in_text(listed) == []

    # The same search finds secrets in the log of a job that prints its environment.
    ((_, printed),) = cluster.outputs_of_jobs(["env"])
    assert canaries.in_text(printed) == ["key", "secret", "elsewhere"]
    logs = canaries.in_folder(head.directory, but=(head.token_path,))
    assert {found.rpartition(": ")[2] for found in logs} == {"key", "secret", "elsewhere"}


def _ray_list_actors(env: dict[str, str]) -> str:
    command = [str(Path(sys.executable).parent / "ray"), "list", "actors", "--detail"]
    listed = subprocess.run(
        [*command, "--address", env["RAY_API_SERVER_ADDRESS"]],
        env=env,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert listed.returncode == 0, listed.stderr
    return listed.stdout + listed.stderr
