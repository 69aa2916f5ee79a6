"""A local Ray whose node dies in the middle of its work; prints the errors that follow.

    python -m tests.cluster.lost_node

It kills its raylet, so it cannot share a process with the Ray of the tests.
"""

import os
import threading

import psutil

from pipeline.cluster.ray_session import (
    check_own_node,
    map_tasks,
    ray_failures_named,
    ray_session,
)
from pipeline.config.sections import ClusterConfig
from pipeline.core.errors import BuildError

# Ray takes about 15 s to report a node as dead otherwise.
QUICK = {"initial_delay_ms": 0, "period_ms": 200, "timeout_ms": 500, "failure_threshold": 1}

CHECKS, INTERVAL_S = 1000, 0.1


def lose_node() -> None:
    """Run a task, kill the node of this process, run another one and wait for the loss."""
    os.environ |= {f"RAY_health_check_{name}": str(value) for name, value in QUICK.items()}
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
