"""Connection to a Ray cluster or a local Ray, its machines, and a parallel map over its tasks."""

import logging
import math
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

import ray
from ray._common.utils import get_default_ray_temp_dir
from ray._private import worker
from ray._private.state import state
from ray.core.generated import gcs_pb2
from ray.exceptions import AuthenticationError, RayError, RayTaskError, RpcError

from pipeline.cluster.ray_address import check_cluster, find_address
from pipeline.cluster.ray_output import ray_output_logged
from pipeline.cluster.software import Software, check_software
from pipeline.config.sections import ClusterConfig
from pipeline.core.errors import BuildError, ClusterError
from pipeline.storage.local_errors import free_space

logger = logging.getLogger(__name__)

_TOO_SLOW = "timed out during startup"
"""Text of Ray's error for a node that did not start within 30 s. The limit cannot be configured."""

_RESTARTED = "WrongClusterID"
"""Text of Ray's error for a head that was restarted. Ray has no type for it."""

_AGAIN = "Run the same command again: it continues from the units that are saved"

_NODE_CHECK_S = 5.0
"""Seconds of waiting for a task after which the node of this process is checked."""

_HEAD_S = 10.0
"""Seconds without an answer of the head after which a warning is logged."""

_TASK_S = 300.0
"""Seconds without the end of a task after which a warning is logged, and again each time."""

_OBJECT_STORE_BYTES = 100_000_000
"""Only unit numbers and summaries pass through it; 75 MB is Ray's minimum."""

_SESSION_BYTES = 20_000_000
"""Room for the logs of a local Ray. A build of an hour writes about 2 MB."""


@contextmanager
def ray_session(config: ClusterConfig, address: str | None = None) -> Iterator[None]:
    """Connect to Ray at ``address`` or ``RAY_ADDRESS``, or start a local Ray.

    Raise ``ClusterError`` if no cluster can be used at the address, and ``BuildError`` if it is
    lost later.

    An existing session is used and left running. A local Ray reports as many CPUs as the configured
    workers need. If the machine has fewer, the workers share them.
    """
    if ray.is_initialized():
        yield
        return
    with ray_output_logged():
        _connect(config, address)
        try:
            with ray_failures_named():
                yield
        finally:
            ray.shutdown()


@contextmanager
def ray_failures_named() -> Iterator[None]:
    """Raise ``BuildError`` for an error of Ray itself, such as that of a head that has died."""
    try:
        yield
    except RayTaskError:
        raise  # an error of the code that Ray ran, with its traceback
    except RayError as error:
        raise BuildError(_failure(error)) from error


def _failure(error: RayError) -> str:
    # A head that restarts without its memory refuses its old clients with an error about tokens.
    if _RESTARTED in str(error):
        return (
            "the head of the Ray cluster was restarted and does not know this build any more. "
            f"{_AGAIN}"
        )
    cause = (str(error).strip().splitlines() or [""])[0]
    return (
        f"Ray has failed ({type(error).__name__}: {cause}). Check that its head and the node of "
        f"this machine run (`ray status`). {_AGAIN}"
    )


def _connect(config: ClusterConfig, address: str | None) -> None:
    try:
        if found := find_address(address):
            check_cluster(found)
            ray.init(address=found.text, log_to_driver=False, logging_level=logging.ERROR)
        else:
            _start_ray(math.ceil(config.workers * config.cpus_per_worker))
    except (AuthenticationError, ConnectionError) as error:
        raise ClusterError(f"cannot use Ray: {error}") from error


def _start_ray(cpus_needed: int) -> None:
    """Start a local Ray, with two more attempts if the machine is too busy to start it in 30 s."""
    folder = Path(get_default_ray_temp_dir())
    _check_room(folder)
    for last in (False, False, True):
        try:
            ray.init(
                address="local",
                num_cpus=max(os.cpu_count() or 1, cpus_needed),
                object_store_memory=_OBJECT_STORE_BYTES,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
            return
        except Exception as error:  # Ray raises it for a slow start; only its text identifies it
            if last or _TOO_SLOW not in str(error):
                raise ClusterError(
                    f"Ray did not start on this machine: {error}. Its logs and sockets are in "
                    f"{folder} ({free_space(folder)}); RAY_TMPDIR names another folder"
                ) from error
            logger.warning("Ray did not start in time on this busy machine; starting it again")
            ray.shutdown()


def _check_room(folder: Path) -> None:
    """Raise ``ClusterError`` if the disk of Ray's folder is full, for which Ray has no error."""
    # Without room for its files, Ray waits 30 s for a process that cannot write its port.
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if shutil.disk_usage(existing).free < _SESSION_BYTES:
        raise ClusterError(
            f"Ray cannot start on this machine: it keeps logs and sockets in {folder}, and needs "
            f"{_SESSION_BYTES:,} bytes there ({free_space(folder)}). Free some space, or name "
            "another folder with RAY_TMPDIR or TMPDIR"
        )


def draining_nodes() -> set[str]:
    """Return the ids of machines that will stop, after a spot notice or a scale-down.

    Ray 2.60 has no public call for this.
    """
    return set(state.get_draining_nodes())


def living_nodes() -> set[str]:
    """Return the ids of the machines that Ray reports as alive.

    Waits for a head that is restarting. Raises ``RayError`` if the new one is another cluster.
    """
    # `ray.nodes` aborts the process in that case, with a stack trace of its C++ code.
    connection: Any = worker.global_worker
    head = connection.gcs_client
    try:
        nodes = head.get_all_node_info(timeout=_HEAD_S)
    except RpcError:
        # Ray ends this process after a minute without a head, in the next call or elsewhere. What a
        # person can do about it must be printed before.
        logger.warning(
            "the head of the Ray cluster does not answer; Ray ends this process if it stays away "
            "for a minute. %s",
            _AGAIN,
        )
        nodes = head.get_all_node_info()
    return {
        node_id.hex()
        for node_id, node in nodes.items()
        if node.state == gcs_pb2.GcsNodeInfo.GcsNodeState.ALIVE
    }


def check_own_node() -> None:
    """Raise ``BuildError`` if Ray reports the node of this process as dead.

    Ray starts no actor of a process without a node, and waits for ever without an error.
    """
    node = ray.get_runtime_context().get_node_id()
    if node not in living_nodes():
        raise BuildError(
            "Ray reports the node of this machine as dead: its raylet has ended, or the head was "
            f"restarted. Check that it runs (`ray status`; its id was {node}). {_AGAIN}"
        )


def node_addresses() -> dict[str, str]:
    """Map the id of each living machine to its IP address."""
    return {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}


def free_resources() -> dict[str, float]:
    """Return the currently free amount of each resource, such as CPU and GPU."""
    return dict(ray.available_resources())


def all_resources() -> dict[str, float]:
    """Return the amount of each resource of the cluster, free or not."""
    return dict(ray.cluster_resources())


@dataclass(frozen=True, kw_only=True)
class ActorProcess:
    """Process of an actor. Its constructor may still be running, or the process may be dead."""

    pid: int
    address: str
    """IP address of its machine."""


def process_of(actor: Any) -> ActorProcess | None:
    """Return the process of an actor, or None while it waits for resources.

    Ray 2.60 has a public call for this only with its dashboard.
    """
    found = state.actor_table(actor._actor_id.hex())
    if not found or not found["Pid"]:
        return None
    return ActorProcess(pid=found["Pid"], address=found["Address"]["IPAddress"])


def ended_calls(calls: list[Any], timeout: float) -> list[Any]:
    """Return all calls that have ended, after waiting at most ``timeout`` seconds for one."""
    first, _ = ray.wait(calls, timeout=timeout)
    if not first:
        return []
    # Ray returns one call. If many workers end calls faster than they are handled one by one, the
    # health checks among them may never be read, and all workers would look hung.
    others, _ = ray.wait(calls, num_returns=len(calls), timeout=0)
    ended = {*first, *others}
    return [call for call in calls if call in ended]


Item = TypeVar("Item")
Result = TypeVar("Result")


def map_tasks(
    function: Callable[[Item], Result], items: Iterable[Item], *, in_flight: int
) -> Iterator[Result]:
    """Yield ``function(item)`` for each item, in order, with at most ``in_flight`` tasks running.

    Ray repeats a task whose machine dies. An error of ``function`` is raised without Ray's wrapper.
    Raise ``ClusterError`` if a machine has other software than this one, and ``BuildError`` if the
    node of this process dies.
    """
    # Retries are safe: the function is pure, and an error it raises itself is not retried.
    task: Any = ray.remote(num_cpus=1, max_retries=3)(_on_same_software)
    # `ray list tasks` and the dashboard show the function, and not the check before it.
    task = task.options(name=_name(function))
    driver = Software.here()
    running: deque[Any] = deque()
    try:
        for item in items:
            running.append(task.remote(driver, function, item))
            # Waiting here limits the running tasks and takes inputs only as they are needed.
            if len(running) >= in_flight:
                yield _result(running.popleft())
        while running:
            yield _result(running.popleft())
    except RayTaskError as error:
        raise error.cause if error.cause is not None else error from None


def _name(function: Callable[..., Any]) -> str:
    inner = function.func if isinstance(function, partial) else function
    return str(getattr(inner, "__qualname__", inner))


def _result(call: Any) -> Any:
    begin = monotonic()
    while not ray.wait([call], timeout=_NODE_CHECK_S)[0]:
        check_own_node()
        if monotonic() - begin > _TASK_S:
            begin = monotonic()
            logger.warning(
                "no task of Ray has ended for %.0f minutes. Tasks wait for a free CPU (see `ray "
                "status`), or for the agent of Ray on their machine (ray/dashboard/agent.py), "
                "which may hang",
                _TASK_S / 60,
            )
    return ray.get(call)


def _on_same_software(driver: Software, function: Callable[[Item], Result], item: Item) -> Result:
    check_software(driver)
    return function(item)
