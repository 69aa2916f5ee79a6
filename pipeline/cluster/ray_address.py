"""Address of a Ray cluster, and a check that the cluster can be used from here.

``ray.init`` tries a dead address for up to 200 s, logs warnings of its C++ code meanwhile, and ends
with an error that does not name the cause. This check takes 15 s at most and names it.
"""

import json
import os
import socket
import threading
from contextlib import closing
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Any

import grpc
from ray._common.usage.usage_constants import CLUSTER_METADATA_KEY
from ray._private import services
from ray._private.grpc_utils import init_grpc_channel
from ray._private.ray_constants import GLOBAL_GRPC_OPTIONS
from ray._private.utils import check_version_info
from ray.core.generated import gcs_pb2, gcs_service_pb2, gcs_service_pb2_grpc
from ray.exceptions import AuthenticationError

from pipeline.core.errors import ClusterError

_CONNECT_S = 5.0
"""Seconds to resolve the host and connect to its port."""

_ANSWER_S = 4.0
"""Seconds for each of two calls: the cluster's versions, and its machines."""

_PAUSE_S = 0.5
"""Seconds between two looks for a node of this machine, which may have just started."""

_LOCAL = "local"
_AUTO = "auto"


@dataclass(frozen=True, kw_only=True)
class RayAddress:
    """Address of a cluster, as the user gave it."""

    text: str
    origin: str
    """Source of the address: ``--address`` or ``RAY_ADDRESS``."""

    def __str__(self) -> str:
        return f"{self.text} (from {self.origin})"


def find_address(option: str | None) -> RayAddress | None:
    """Return the address to connect to, or None to start Ray on this machine."""
    if option:
        found = RayAddress(text=option, origin="--address")
    elif text := os.environ.get("RAY_ADDRESS"):
        found = RayAddress(text=text, origin="RAY_ADDRESS")
    else:
        return None
    return None if found.text == _LOCAL else found


def check_cluster(address: RayAddress) -> None:
    """Check that a cluster with this Ray and Python answers, and that this machine belongs to it.

    Raise ``ClusterError``, which names the address, the cause and a remedy, within 15 s.
    """
    address = _resolved(address)
    host, port = _host_and_port(address)
    _connect(address, host, port)
    with closing(init_grpc_channel(f"{host}:{port}", GLOBAL_GRPC_OPTIONS)) as channel:
        try:
            _check_versions(address, channel)
            _check_membership(address, channel)
        except AuthenticationError as error:  # the token's file is missing or empty
            raise _no_access(address, str(error).partition(". ")[0]) from error
        except grpc.RpcError as error:
            raise _no_answer(address, error) from error


def _resolved(address: RayAddress) -> RayAddress:
    """Return the address that Ray finds on this machine in place of ``auto``."""
    if address.text != _AUTO:
        return address
    try:
        text = services.canonicalize_bootstrap_address(_AUTO)
    except ConnectionError as error:
        raise ClusterError(
            f"no Ray runs on this machine, which the address {address} stands for; start it with "
            f"`ray start`, or leave out {address.origin}, and the build starts Ray itself"
        ) from error
    return RayAddress(text=text or _AUTO, origin=f"{address.origin} {_AUTO}")


def _host_and_port(address: RayAddress) -> tuple[str, int]:
    text = address.text
    if "://" in text:
        raise ClusterError(
            f"{address} is not the address of a Ray head: a build runs neither through Ray Client "
            "(ray://) nor through the dashboard (http://). Run it on a machine of the cluster and "
            "give HOST:PORT of the head (the port is 6379 unless set otherwise), or submit it with "
            "`ray job submit -- python -m jobs.build …` and RAY_API_SERVER_ADDRESS"
        )
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16):
        raise ClusterError(f"{address} is not the address of a Ray cluster; write HOST:PORT")
    return host, int(port)


def _connect(address: RayAddress, host: str, port: int) -> None:
    """Open a connection and close it. Raise ``ClusterError`` after ``_CONNECT_S`` at most."""
    causes: list[OSError] = []

    def attempt() -> None:
        try:
            socket.create_connection((host.strip("[]"), port), _CONNECT_S).close()
        except OSError as error:
            causes.append(error)

    # In a thread, because nothing limits the time of a name server.
    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(_CONNECT_S)
    if causes:
        cause = causes[0].strerror or str(causes[0])
    elif thread.is_alive():
        cause = f"no answer within {_CONNECT_S:.0f} s"
    else:
        return
    raise ClusterError(
        f"no Ray cluster answers at {address}: {cause}. Check the address, that the head runs, and "
        f"that this machine may connect to it. Leave out {address.origin} to use Ray on this "
        "machine alone"
    )


def _check_versions(address: RayAddress, channel: grpc.Channel) -> None:
    """Raise ``ClusterError`` if the cluster runs another version of Ray or Python."""
    # Ray makes the same check when it connects, and wraps the result in an error without the cause.
    stub: Any = gcs_service_pb2_grpc.InternalKVGcsServiceStub(channel)
    request = gcs_service_pb2.InternalKVGetRequest(key=CLUSTER_METADATA_KEY, namespace=b"cluster")
    versions = stub.InternalKVGet(request, timeout=_ANSWER_S).value
    if not versions:
        return  # the head has just started; Ray checks again
    try:
        check_version_info(json.loads(versions), f"machine {socket.gethostname()}")
    except RuntimeError as error:
        raise ClusterError(
            f"the Ray cluster at {address} runs other versions than this program. {error}. "
            "Install the same versions on all machines"
        ) from error


def _check_membership(address: RayAddress, channel: grpc.Channel) -> None:
    """Raise ``ClusterError`` if no node of the cluster runs on this machine."""
    # A driver works through the node of its machine. Ray waits a minute for one.
    stub: Any = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel)
    request = gcs_service_pb2.GetAllNodeInfoRequest(
        state_filter=gcs_pb2.GcsNodeInfo.GcsNodeState.ALIVE
    )
    deadline = monotonic() + _ANSWER_S
    while True:
        reply = stub.GetAllNodeInfo(request, timeout=_ANSWER_S)
        if {node.node_id.hex() for node in reply.node_info_list} & {*services.find_node_ids()}:
            return
        if monotonic() > deadline:
            break
        sleep(_PAUSE_S)
    raise ClusterError(
        f"the Ray cluster at {address} answers, but {socket.gethostname()} is not one of its "
        f"machines. Run `ray start --address={address.text}` here first, or submit the build with "
        "`ray job submit -- python -m jobs.build …` and RAY_API_SERVER_ADDRESS"
    )


def _no_answer(address: RayAddress, error: grpc.RpcError) -> ClusterError:
    code = error.code() if isinstance(error, grpc.Call) else None
    if code is grpc.StatusCode.UNAUTHENTICATED:
        return _no_access(address, "the token is missing or another one")
    return ClusterError(
        f"no Ray head answers at {address}, although something accepts connections there "
        f"({code.name if code else error}). Check the port, which is that of the head (6379 unless "
        "set otherwise) and not that of the dashboard (8265) or Ray Client (10001), and that "
        "RAY_USE_TLS is set as on the cluster"
    )


def _no_access(address: RayAddress, why: str) -> ClusterError:
    return ClusterError(
        f"the Ray cluster at {address} requires a token: {why}. Set RAY_AUTH_MODE=token, and "
        "RAY_AUTH_TOKEN_PATH or RAY_AUTH_TOKEN to the token of the cluster"
    )
