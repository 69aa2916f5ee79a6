"""Settings and fixtures of all tests: one thread per process, one S3 server, one Ray."""

import atexit
import gc
import os

# Before anything imports torch or numpy. Two threads on a busy two-core machine are 2.7 x slower
# than one, and the worker processes that tests start inherit this.
os.environ["OMP_NUM_THREADS"] = "1"
# Tests must not use a cluster of the person who runs them.
os.environ.pop("RAY_ADDRESS", None)
# Ray starts its workers with nice 15. The tests of the other process would starve them.
os.environ |= {"RAY_worker_niceness": "0"}

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
"""Free bytes that are required. A run of all tests needs a tenth of it."""

# Temporary files are in memory if there is room. A store flushes every object to the disk, and on
# a disk the tests would spend half of their time waiting for it.
if _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _ROOM:
    tempfile.tempdir = os.environ["TMPDIR"] = str(_MEMORY)

# Builds write their logs there, and not into the home of the person who runs the tests.
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="npd-tests-state-")
atexit.register(shutil.rmtree, os.environ["XDG_STATE_HOME"], ignore_errors=True)

# No test measures time, so a slow example is not an error.
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


def pytest_collection_finish() -> None:
    """Exclude everything that is loaded now from garbage collection."""
    # Otherwise each forked DataLoader worker copies the memory of all modules when it collects.
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _one_torch_thread() -> None:
    import torch  # imported late, so that collecting tests does not load it

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    """A real S3 server. Tests that kill or stop a server start another one."""
    with SeaweedFS(tmp_path_factory.mktemp("seaweedfs")) as server:
        server.create_bucket(BUCKET)
        yield server


@pytest.fixture
def s3_env(s3_server: SeaweedFS, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Environment in which boto3 finds the test server and no other account.

    It is set in ``os.environ``, so that processes that start later inherit it. A running Ray does
    not.
    """
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, setting in s3_server.env().items():
        monkeypatch.setenv(name, setting)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    # The cache of remote shards.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def s3_url(s3_env: None) -> str:
    """The URL of a new, empty prefix on the real server."""
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
    """A real Ray with at least two CPUs, which builds in this process use."""
    with ray_session(ClusterConfig(workers=2)):
        yield
