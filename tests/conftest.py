"""What all tests share: one thread a process, one real S3 server and one real Ray a session."""

import os

# Before anything imports torch or numpy. Two threads on a busy two-core machine are 2.7 x slower
# than one, and the worker processes that tests start inherit this.
os.environ["OMP_NUM_THREADS"] = "1"
# A cluster that the person at the keyboard works with is none of the tests' business.
os.environ.pop("RAY_ADDRESS", None)

import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from infra.storage.seaweedfs import SeaweedFS
from pipeline.cluster.ray_session import ray_session
from pipeline.config.sections import ClusterConfig
from pipeline.storage.local import LocalStore
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.s3 import S3Store
from tests.order import is_fast, rank

BUCKET = "npd-tests"

_MEMORY = Path("/dev/shm")
_ROOM = 8e9
"""Bytes; a whole run takes a tenth of it."""

# Real files in memory, where there is room: a store flushes every object to the disk, and the disk,
# which no test is about, would be waited for half of the time.
if _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _ROOM:
    tempfile.tempdir = os.environ["TMPDIR"] = str(_MEMORY)

# How long an example takes is the machine's affair.
settings.register_profile(
    "nothing is timed", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("nothing is timed")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--fast``, which ``make test-fast`` passes."""
    parser.addoption("--fast", action="store_true", help="leave out what starts Ray or a server")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Sort the longest files first, for ``--dist loadfile --no-loadscope-reorder``."""
    items.sort(key=rank)
    if config.getoption("--fast"):
        slow = [item for item in items if not is_fast(item)]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if is_fast(item)]


@pytest.fixture(scope="session", autouse=True)
def _one_torch_thread() -> None:
    import torch  # here and not above: the server starts without it

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    """A real S3 server; tests that kill or stop it start their own."""
    with SeaweedFS(tmp_path_factory.mktemp("seaweedfs")) as server:
        server.create_bucket(BUCKET)
        yield server


@pytest.fixture
def s3_env(s3_server: SeaweedFS, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The environment in which boto3 finds the server, cut off from the person's own account.

    It is set in ``os.environ``, so that processes started from here on inherit it; a Ray that
    runs already does not.
    """
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, setting in s3_server.env().items():
        monkeypatch.setenv(name, setting)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    # Where readers keep copies of remote shards.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def s3_url(s3_env: None) -> str:
    """The URL of an empty prefix of its own on the real server."""
    return f"s3://{BUCKET}/{secrets.token_hex(8)}"


@pytest.fixture(params=["file", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """An empty store of either kind."""
    if request.param == "file":
        return LocalStore(tmp_path / "store")
    bucket, _, prefix = request.getfixturevalue("s3_url").removeprefix("s3://").partition("/")
    return S3Store(bucket, prefix)


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """A real Ray with two CPUs or more; builds in this process use it."""
    with ray_session(ClusterConfig(workers=2)):
        yield
