"""A build gives the same bytes with any number of workers and in any store."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import ray

from pipeline.config.file import BUNDLED
from pipeline.core.records import Split
from pipeline.storage.open import open_store
from tests.end_to_end.builds import DEADLINE_S, Npd, module_command, sealed_bytes, stored_receipts

pytestmark = pytest.mark.usefixtures("ray_cluster")


def test_build_with_two_workers_gives_the_bytes_of_one(
    npd: Npd, config_path: Path, undisturbed: Path, tmp_path: Path
) -> None:
    ended = npd("build", config_path, "--out", tmp_path / "out", "--workers", 2)
    assert ended.code == 0, ended.err
    assert "24 candidates in 12 units, 2 workers" in ended.err
    assert f"sealed at file://{tmp_path}/out" in ended.err
    sealed = sealed_bytes(tmp_path / "out")
    assert sealed == sealed_bytes(undisturbed)
    assert len([key for key in sealed if key.endswith(".arrow")]) > len(Split), "several shards"
    assert len([key for key in sealed if key.endswith(".tar")]) > len(Split)


def test_build_into_s3_gives_the_bytes_of_a_folder(
    npd: Npd, config_path: Path, undisturbed: Path, s3_url: str
) -> None:
    # In a separate process, because workers inherit the credentials of the Ray that starts them.
    command = module_command("pipeline.cli", "build", config_path, "--out", s3_url, "--workers", 1)
    subprocess.run(command, check=True, timeout=DEADLINE_S)
    assert sealed_bytes(s3_url) == sealed_bytes(undisturbed)
    verified = npd("verify", s3_url)
    assert (verified.code, verified.err.count("wrong")) == (0, 0)


def test_build_as_a_job_on_a_running_cluster_gives_the_same_bytes(
    config_path: Path, undisturbed: Path, tmp_path: Path
) -> None:
    address = ray.get_runtime_context().gcs_address
    subprocess.run(
        module_command("jobs.build", config_path, "--out", tmp_path / "out", "--workers", 1),
        env=os.environ | {"RAY_ADDRESS": address},
        check=True,
        timeout=DEADLINE_S,
    )
    assert sealed_bytes(tmp_path / "out") == sealed_bytes(undisturbed)
    assert ray.is_initialized()
    assert ray.cluster_resources(), "the cluster still runs"


def test_sealed_objects_contain_nothing_of_this_machine(undisturbed: Path) -> None:
    receipts = [json.loads(data) for data in stored_receipts(open_store(str(undisturbed))).values()]
    secrets = {receipt[name] for receipt in receipts for name in ("attempt_id", "host", "started")}
    secrets |= {str(undisturbed), str(BUNDLED)}
    for key in sealed_bytes(undisturbed):
        data = (undisturbed / key).read_bytes()
        assert [secret for secret in secrets if secret.encode() in data] == []
