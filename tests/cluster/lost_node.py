"""A local Ray whose node and head die in the middle of its work; prints the errors that follow.

    python -m tests.cluster.lost_node

It kills its raylet and then its head, so it cannot share a process with the Ray of the tests.
"""

import os
import threading

import psutil

from pipeline.cluster import ray_session as ray_session_module
from pipeline.cluster.ray_session import (
    check_own_node,
    map_tasks,
    ray_failures_named,
    ray_session,
)
from pipeline.config.sections import ClusterConfig
from pipeline.core.errors import BuildError

# Ray takes about 15 s to report a node as dead otherwise, and a minute to miss its head.
QUICK = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 200,
    "health_check_timeout_ms": 500,
    "health_check_failure_threshold": 1,
    "gcs_rpc_server_reconnect_timeout_s": 3,
}

CHECKS, INTERVAL_S = 1000, 0.1


def lose_node() -> None:
    """Run a task, kill the node of this process, run another one and wait for the loss."""
    os.environ |= {f"RAY_{name}": str(value) for name, value in QUICK.items()}
    with ray_session(ClusterConfig(workers=1)):
        check_own_node()
        run_task()
        for process in psutil.Process().children(recursive=True):
            if process.name() == "raylet":
                process.kill()
        for act in (run_task, wait_for_the_loss):
            try:
                with ray_failures_named():
                    act()
            except BuildError as error:
                print(f"{act.__name__}: {error}", flush=True)
        lose_head()


def lose_head() -> None:
    """Kill the head and check the node, which Ray answers with the end of this process."""
    ray_session_module._HEAD_S = 1.0
    for process in psutil.Process().children(recursive=True):
        if process.name() == "gcs_server":
            process.kill()
    check_own_node()


def run_task() -> None:
    """Run one task and print its result."""
    print(f"result: {[*map_tasks(str, [1], in_flight=1)]}", flush=True)


def wait_for_the_loss() -> None:
    """Check the node of this process until Ray has noticed."""
    for _ in range(CHECKS):
        check_own_node()
        threading.Event().wait(INTERVAL_S)


if __name__ == "__main__":
    lose_node()
