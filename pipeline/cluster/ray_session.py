"""Connecting to a Ray cluster, or starting one on this machine for as long as it is needed."""

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
"""What Ray says of a node that was not there after 30 s, which nobody can set."""

_OBJECT_STORE_BYTES = 100_000_000
"""Only unit numbers and summaries pass through it; 75 MB is Ray's minimum."""

_ASIDE = 2
"""Calls that a worker answers beside its work: a sign of life, and to be told to leave."""

_WORKER_ENVIRONMENT = {
    # Without it cuBLAS is not deterministic; it must be set before the process touches the GPU.
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    # The driver loads no hub model, and neither may a worker: a plan names local files.
    "HF_HUB_OFFLINE": "1",
}


@contextmanager
def ray_session(config: ClusterConfig, address: str | None = None) -> Iterator[None]:
    """A connection to Ray: to ``address``, to ``RAY_ADDRESS``, or to a Ray of our own.

    A session that exists is used and left as it is. The Ray of our own has as many CPUs as the
    configured workers need, even where the machine has fewer: they then share them.
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
    """Start a Ray of our own; again where this machine was too busy for Ray's half a minute."""
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
        except Exception as error:  # Ray raises itself for this; its text alone tells it apart
            if last or _TOO_SLOW not in str(error):
                raise
            logger.warning("Ray did not start in time on this busy machine and is started again")
            ray.shutdown()


def spawn_worker(url: str, plan_id: str, config: Config) -> ActorHandle:
    """Start a ``WorkerActor`` on its own GPU (or CPUs).

    It is never restarted and no call is repeated by Ray: the driver decides.
    """
    return (
        ray.remote(WorkerActor)
        .options(
            num_gpus=config.cluster.gpus_per_worker,
            num_cpus=config.cluster.cpus_per_worker,
            max_concurrency=UNITS_IN_FLIGHT + _ASIDE,
            max_restarts=0,
            max_task_retries=0,
            runtime_env={"env_vars": _WORKER_ENVIRONMENT},
        )
        .remote(url, plan_id, config)
    )
