"""A cluster that cannot be used is one error within seconds, before Ray tries to connect."""

import json
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import ray
from ray._common.usage.usage_constants import CLUSTER_METADATA_KEY

from pipeline.cluster.ray_address import RayAddress, check_cluster, find_address
from pipeline.cluster.ray_session import ray_session
from pipeline.config.sections import ClusterConfig
from pipeline.core.errors import ClusterError


def _refusal(text: str) -> str:
    with pytest.raises(ClusterError) as raised:
        check_cluster(RayAddress(text=text, origin="RAY_ADDRESS"))
    assert "from RAY_ADDRESS" in str(raised.value)
    return str(raised.value)


def test_session_at_a_refused_port_names_address_and_origin(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ClusterError) as raised, ray_session(ClusterConfig(workers=1)):
        pass
    assert f"no Ray cluster answers at {address} (from RAY_ADDRESS): Connection refused" in str(
        raised.value
    )
    assert capfd.readouterr().err == ""


def test_option_precedes_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "a:1")
    assert str(find_address("b:2")) == "b:2 (from --address)"
    assert str(find_address(None)) == "a:1 (from RAY_ADDRESS)"
    monkeypatch.setenv("RAY_ADDRESS", "local")
    assert find_address(None) is None


def test_host_without_an_address_is_named() -> None:
    message = _refusal("no-such-host.invalid:6379")
    assert "no-such-host.invalid:6379" in message
    assert "Connection refused" not in message


@contextmanager
def _black_hole() -> Iterator[int]:
    """Yield a port at which connections are neither accepted nor refused."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        # The kernel drops further connections while these wait to be accepted.
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        yield server.getsockname()[1]


def test_black_hole_and_silent_server_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.cluster.ray_address._CONNECT_S", 0.5)
    monkeypatch.setattr("pipeline.cluster.ray_address._ANSWER_S", 0.5)
    with _black_hole() as port:
        assert re.search("no answer within|timed out", _refusal(f"127.0.0.1:{port}"))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        message = _refusal(f"127.0.0.1:{silent.getsockname()[1]}")
    assert "something accepts connections there (DEADLINE_EXCEEDED)" in message
    assert "6379" in message and "8265" in message


@pytest.mark.parametrize("text", ["ray://127.0.0.1:10001", "http://127.0.0.1:8265"])
def test_address_of_ray_client_or_dashboard_is_refused(text: str) -> None:
    assert "ray job submit" in _refusal(text)


@pytest.mark.parametrize("text", ["head", "head:", ":6379", "head:99999", "head:six"])
def test_address_without_host_or_port_is_refused(text: str) -> None:
    assert "write HOST:PORT" in _refusal(text)


@pytest.mark.usefixtures("ray_cluster")
def test_running_cluster_is_accepted_and_another_version_is_named() -> None:
    context = ray.get_runtime_context()
    address = RayAddress(text=context.gcs_address, origin="RAY_ADDRESS")
    check_cluster(address)
    worker: Any = ray._private.worker.global_worker
    gcs = worker.gcs_client
    before = gcs.internal_kv_get(CLUSTER_METADATA_KEY, namespace=b"cluster")
    older = json.dumps({**json.loads(before), "ray_version": "2.9.1"}).encode()
    gcs.internal_kv_put(CLUSTER_METADATA_KEY, older, True, namespace=b"cluster")
    try:
        message = _refusal(address.text)
    finally:
        gcs.internal_kv_put(CLUSTER_METADATA_KEY, before, True, namespace=b"cluster")
    assert "2.9.1" in message and ray.__version__ in message
    assert socket.gethostname() in message
    check_cluster(address)
