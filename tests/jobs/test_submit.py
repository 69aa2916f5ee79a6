"""``ray job submit`` on a real head with token authentication, killed in the middle of a build."""

import hashlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.storage import layout
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.open import open_store
from pipeline.storage.receipts import Receipt
from tests import sealed
from tests.jobs.ray_head import RayHead, submit
from tests.waiting import until

SETTINGS = sealed.changed(
    prompts={"seeds_per_prompt": 1},
    units={"size": 4, "batch_size": 4},
    output={"formats": ["arrow"], "shard_bytes": 60_000},
)
NUM_UNITS = 6

SUBMISSION_ID = "npd-build-x7k2p"
"""A RayJob's ``jobId``, which KubeRay chooses."""

DEADLINE_S = 300
"""Far beyond what anything here takes, on a machine that is busy as well; seen: 30 s a job."""


@pytest.fixture(scope="module")
def head() -> Iterator[RayHead]:
    """Started, and perhaps not ready yet; a test that kills it starts it again."""
    # Not in pytest's folder: the paths of Ray's sockets must be shorter than 108 characters.
    with tempfile.TemporaryDirectory(prefix="npd-ray-") as folder, RayHead(Path(folder)) as head:
        yield head


def test_job_on_a_head_that_was_killed_is_submitted_twice_again_and_loses_nothing(
    head: RayHead, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    store = open_store(str(out))
    undisturbed = sealed.build(tmp_path / "config", SETTINGS)
    undisturbed.sealed_in(str(tmp_path / "undisturbed"))
    assert undisturbed.plan.num_units == NUM_UNITS
    head.wait_until_ready()
    build = ("python", "-m", "jobs.build", tmp_path / "config" / "build.toml")
    to = ("--out", out, "--workers", 1)

    with submit(head.client_env(), *build, *to, submission_id=SUBMISSION_ID) as job:
        assert until(
            lambda: len(list(out.glob("receipts/*/*.json"))) >= 2 or job.poll() is not None,
            DEADLINE_S,
            poll_s=0.005,
        )
        head.kill()
        printed, _ = job.communicate(timeout=DEADLINE_S)
    assert job.returncode != 0, f"it ended before the head was killed:\n{printed}"
    before = _objects(store, "receipts/")
    assert 2 <= len(before) < NUM_UNITS
    for data in before.values():
        receipt = Receipt.model_validate_json(data)
        assert hashlib.sha256(store.get(receipt.data_key)).hexdigest() == receipt.data_sha256
    written = _times(out / "units")

    head.start()
    head.wait_until_ready()
    # KubeRay in HTTPMode asks a new head for the job. It is unknown there, so it is submitted again
    # under its id. Here somebody submits it a second time meanwhile.
    assert head.job_status(SUBMISSION_ID) is None
    with (
        submit(head.client_env(), *build, *to, submission_id=SUBMISSION_ID) as again,
        submit(head.client_env(), *build, *to) as second,
    ):
        both = [each.communicate(timeout=DEADLINE_S)[0] for each in (again, second)]
    assert (again.returncode, second.returncode) == (0, 0), both
    assert all("sealed at" in printed for printed in both)
    # One that starts later also finds units of the other one.
    resumed = re.findall(r"resuming: (\d+) units? done before", "\n".join(both))
    assert resumed and min(map(int, resumed)) >= len(before)
    assert before.items() <= _objects(store, "receipts/").items(), "receipts stay as they were"
    assert written.items() <= _times(out / "units").items(), "no unit is written again"
    assert len(list(out.glob("receipts/*/*.json"))) == NUM_UNITS
    assert not (out / "disagreements").exists()
    assert _sealed_bytes(store) == _sealed_bytes(open_store(str(tmp_path / "undisturbed")))


@pytest.mark.parametrize("token", [None, "0" * 64], ids=["none", "another"])
def test_submit_without_the_token_is_refused(
    head: RayHead, tmp_path: Path, token: str | None
) -> None:
    head.wait_until_ready()
    env = head.stranger_env(tmp_path)
    if token is not None:
        env |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    with submit(env, "touch", tmp_path / "ran") as job:
        printed, _ = job.communicate(timeout=DEADLINE_S)
    assert job.returncode != 0
    assert "AuthenticationError" in printed
    assert "submitted successfully" not in printed
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("token", [None, "0" * 64], ids=["none", "another"])
def test_build_without_the_token_ends_with_one_message(
    head: RayHead, tmp_path: Path, token: str | None
) -> None:
    head.wait_until_ready()
    env = head.stranger_env(tmp_path) | {"RAY_ADDRESS": head.gcs_address}
    if token is not None:
        env |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    command = [sys.executable, "-m", "tests.cluster.one_session"]
    ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=DEADLINE_S)
    assert "ClusterError" in ended.stdout
    assert (
        f"the Ray cluster at {head.gcs_address} (from RAY_ADDRESS) requires a token" in ended.stdout
    )
    assert "RAY_AUTH_TOKEN_PATH" in ended.stdout
    assert ended.stderr == ""


def _objects(store: ObjectStore, prefix: str) -> dict[str, bytes]:
    return {info.key: store.get(info.key) for info in store.list(prefix)}


def _sealed_bytes(store: ObjectStore) -> dict[str, bytes]:
    """Every sealed object: shards, ledger, manifests and ``_SUCCESS``."""
    prefixes = ("shards/", "ledgers/", "manifests/", layout.SUCCESS_KEY)
    return {key: data for prefix in prefixes for key, data in _objects(store, prefix).items()}


def _times(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.arrow")}
