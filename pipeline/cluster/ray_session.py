"""Connection to a Ray cluster, or to a local Ray that runs as long as it is needed."""

import logging
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from pipeline.cluster.actor import WorkerActor
from pipeline.cluster.roster import ActorHandle
from pipeline.cluster.work import UNITS_IN_FLIGHT
from pipeline.config.sections import ClusterConfig, Config

logger = logging.getLogger(__name__)

_TOO_SLOW = "timed out during startup"
"""Text of Ray's error for a node that did not start within 30 s. The limit cannot be configured."""

_OBJECT_STORE_BYTES = 100_000_000
"""Only unit numbers and summaries pass through it; 75 MB is Ray's minimum."""

_CONTROL_CALLS = 2
"""Concurrent calls beside the work: one ``health_check`` and one ``leave``."""

_WORKER_ENVIRONMENT = {
    # cuBLAS is deterministic only with this, and only if set before the process uses the GPU.
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    # A plan names local files, so a worker must not load a model from the hub.
    "HF_HUB_OFFLINE": "1",
}


@contextmanager
def ray_session(config: ClusterConfig, address: str | None = None) -> Iterator[None]:
    """Connect to Ray at ``address`` or ``RAY_ADDRESS``, or start a local Ray.

    An existing session is used and left running. A local Ray reports as many CPUs as the configured
    workers need. If the machine has fewer, the workers share them.
    """
    if ray.is_initialized():
        yield
        return
    address = address or os.environ.get("RAY_ADDRESS")
    if address:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    else:
        _start_ray(math.ceil(config.workers * config.cpus_per_worker))
    try:
        yield
    finally:
        ray.shutdown()


def _start_ray(cpus_needed: int) -> None:
    """Start a local Ray, with two more attempts if the machine is too busy to start it in 30 s."""
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
        # Ray raises a plain Exception for a slow start; only its text identifies it.
        except Exception as error:
            if last or _TOO_SLOW not in str(error):
                raise
            logger.warning("Ray did not start in time on this busy machine; starting it again")
            ray.shutdown()


def spawn_worker(url: str, plan_id: str, config: Config) -> ActorHandle:
    """Start a ``WorkerActor`` with the configured GPUs and CPUs."""
    # Ray neither restarts the actor nor repeats its calls: the driver decides what follows a
    # failure.
    return (
        ray.remote(WorkerActor)
        .options(
            num_gpus=config.cluster.gpus_per_worker,
            num_cpus=config.cluster.cpus_per_worker,
            max_concurrency=UNITS_IN_FLIGHT + _CONTROL_CALLS,
            max_restarts=0,
            max_task_retries=0,
            runtime_env={"env_vars": _WORKER_ENVIRONMENT},
        )
        .remote(url, plan_id, config)
    )
