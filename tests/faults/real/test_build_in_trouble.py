"""One build under all kinds of faults, on a cluster that gains and loses nodes."""

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from ray._private.node import Node
from ray.cluster_utils import Cluster

from infra.storage.seaweedfs import SeaweedFS
from pipeline.cluster.messages import UNITS_IN_FLIGHT
from pipeline.config.file import load_config
from pipeline.storage.local import LocalStore
from pipeline.storage.open import open_store
from tests.faults.real.audit import AuditResult, Sealed, StoreAudit, read_sealed
from tests.faults.real.build_process import BuildProcess, write_config
from tests.faults.real.gate import Gate
from tests.faults.real.ray_node import worker_processes
from tests.faults.real.wire_faults import Hold, Resets
from tests.waiting import until
from tests.without_ray import build_without_ray

BUCKET = "npd-troubled"
PLACE = f"{BUCKET}/out"
DEADLINE_S = 300
"""Far more than any step here takes, even on a busy machine."""

NUM_UNITS = 24
NUM_WORKERS = 3
OBJECT_STORE_BYTES = 80_000_000
SEED = 20


@pytest.fixture
def config_path(tmp_path: Path) -> Path:
    return write_config(tmp_path, num_units=NUM_UNITS, unit_size=2, workers=NUM_WORKERS)


@pytest.fixture
def undisturbed(config_path: Path, tmp_path: Path) -> Sealed:
    """The same build into a folder, without Ray and without faults."""
    store = LocalStore(tmp_path / "undisturbed")
    build_without_ray(store, load_config(config_path))
    return read_sealed(store)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SeaweedFS]:
    """A store that the test kills."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    with SeaweedFS(tmp_path / "s3") as server:
        server.create_bucket(BUCKET)
        # More attempts than by default: on a busy machine the store needs long to restart.
        for name, setting in {**server.env(), "AWS_MAX_ATTEMPTS": "20"}.items():
            monkeypatch.setenv(name, setting)
        yield server


@pytest.fixture
def gate(server: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """The proxy through which this process and all later ones reach the store."""
    gate = Gate(server.endpoint_url, "127.0.0.1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", gate.url)
    yield gate
    gate.close()


@pytest.fixture
def cluster(gate: Gate) -> Iterator[Cluster]:
    """A head without CPUs, and one node with one CPU."""
    head = {
        "num_cpus": 0,
        "object_store_memory": OBJECT_STORE_BYTES,
        "include_dashboard": False,
    }
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        _add_node(cluster)
        yield cluster
    finally:
        cluster.shutdown()


@pytest.fixture
def build(cluster: Cluster, config_path: Path, tmp_path: Path) -> Iterator[BuildProcess]:
    env = os.environ | {"RAY_ADDRESS": cluster.address}
    log = tmp_path / "build.log"
    build = BuildProcess(config_path, f"s3://{PLACE}", prefix=(), env=env, log=log)
    yield build
    build.stop()


def test_build_in_trouble_uses_nodes_that_join_and_ends_in_the_same_bytes(
    undisturbed: Sealed, server: SeaweedFS, gate: Gate, cluster: Cluster, build: BuildProcess
) -> None:
    chance = random.Random(SEED)
    audit = StoreAudit(open_store(build.url))

    _break_the_wire(gate, build, chance)

    # The store dies between a unit's data and its receipt.
    gate.trouble = hold = Hold()
    _await(lambda: hold.num_units() > 0, build)
    committed = audit.committed()
    server.kill()
    server.restart()
    hold.release()
    assert committed <= audit.committed(), "acknowledged receipts are kept"

    # A build that began with one worker uses the two that join.
    gate.trouble = hold = Hold()
    joined = [_add_node(cluster) for _ in range(NUM_WORKERS - 1)]
    # A worker holds two uncommitted units at most, so more than four units prove three workers.
    _await(lambda: hold.num_units() > (NUM_WORKERS - 1) * UNITS_IN_FLIGHT, build)

    # A worker dies, and another's node, each between a unit's data and its receipt.
    first, second = chance.sample(joined, 2)
    _worker(first).kill()
    second.kill_raylet()
    hold.release()
    gate.trouble = None

    _await(lambda: build.poll() == 0, build)
    assert audit.close(undisturbed) == AuditResult()
    units = {seen.unit for seen in gate.uploads(PLACE)}
    assert units == set(range(NUM_UNITS))
    # Their units need not be uploaded again: the receipts that were held count.
    printed = " ".join(build.log.read_text(encoding="utf-8").split())
    assert printed.count("and is replaced") >= 2, "no fault had an effect"


def _add_node(cluster: Cluster) -> Node:
    node: Node = cluster.add_node(num_cpus=1, object_store_memory=OBJECT_STORE_BYTES)
    return node


def _await(condition: Callable[[], bool], build: BuildProcess) -> None:
    """Wait for a condition. A build that gives up is resumed, as its message asks."""

    def holds() -> bool:
        if build.poll():
            build.resume()
        return condition() or build.poll() == 0

    assert until(holds, DEADLINE_S), f"timed out.\n{build.tail()}"
    assert condition(), f"the build ended too early.\n{build.tail()}"


def _break_the_wire(gate: Gate, build: BuildProcess, chance: random.Random) -> None:
    """Reset three connections in the middle of requests, then three in the middle of replies."""
    for direction, num_bytes in (("up", 15_000), ("down", 600)):
        resets = Resets([chance.randrange(num_bytes) for _ in range(3)], direction)
        gate.trouble = resets
        _await(resets.is_spent, build)


def _worker(node: Node) -> psutil.Process:
    """Return the worker process on a node."""
    raylet = next(process for kind, process in node.live_processes() if kind == "raylet")
    return next(worker_processes(psutil.Process(raylet.pid)))
