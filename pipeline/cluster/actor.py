"""Ray actor around a ``UnitWorker``, with health checks and a SIGTERM handler."""

import os
import signal
from types import FrameType

import ray

from pipeline.cluster.messages import UNITS_IN_FLIGHT, HealthStatus
from pipeline.cluster.metrics_publisher import MetricsPublisher
from pipeline.cluster.software import Software, check_software
from pipeline.cluster.worker import UnitWorker
from pipeline.cluster.worker_handle import ActorHandle, worker_name
from pipeline.config.sections import Config
from pipeline.core.fingerprint import Fingerprint
from pipeline.core.log_records import LogFormat, log_to_stderr
from pipeline.models.kept_digests import HASH_MODELS

_CONTROL_CALLS = 2
"""Concurrent calls beside the work: one ``health_check`` and one ``leave``."""

_WORKER_ENVIRONMENT = {
    # cuBLAS is deterministic only with this, and only if set before the process uses the GPU.
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    # A plan names local files, so a worker must not load a model from the hub.
    "HF_HUB_OFFLINE": "1",
}


def _passed_on() -> dict[str, str]:
    """Return the variables of this process that its workers on other machines need too."""
    return {name: os.environ[name] for name in (HASH_MODELS,) if name in os.environ}


class WorkerActor(UnitWorker):
    """A ``UnitWorker`` that runs in a Ray worker process.

    A machine that shuts down sends SIGTERM. Ray would end the process at once. This handler lets
    the worker commit the units that are already computed and discards the rest. The driver sees
    ``leaving`` in the next health check and ends the process. A second SIGTERM has Ray's behaviour.
    """

    def __init__(
        self,
        url: str,
        plan_id: str,
        config: Config,
        driver: Software,
        log_format: LogFormat = "text",
    ) -> None:
        actor_id = ray.get_runtime_context().get_actor_id()
        log_to_stderr(log_format, plan_id, worker_name(actor_id or ""))
        super().__init__(url, plan_id, config)
        self._driver = driver
        MetricsPublisher(plan_id, self.samples).start()
        self._ray_handler = signal.signal(signal.SIGTERM, self._terminated)

    def set_up(self) -> Fingerprint:
        """Load the models. Raise ``ClusterError`` first if the driver has other software."""
        check_software(self._driver)
        return super().set_up()

    def health_check(self) -> HealthStatus:
        """Return the progress of the worker. A busy worker answers too, at once."""
        return HealthStatus(
            count=self.heartbeat.count,
            leaving=self.heartbeat.leaving,
            node=ray.get_runtime_context().get_node_id(),
        )

    def leave(self) -> None:
        """Discard the current unit at its next step and accept no other. Uploads continue."""
        self.heartbeat.leave()

    def _terminated(self, number: int, frame: FrameType | None) -> None:
        # Restored here, so that a second SIGTERM ends the process at once.
        self.leave()
        signal.signal(signal.SIGTERM, self._ray_handler)


def spawn_worker(
    url: str, plan_id: str, config: Config, log_format: LogFormat = "text"
) -> ActorHandle:
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
            runtime_env={"env_vars": _WORKER_ENVIRONMENT | _passed_on()},
        )
        .remote(url, plan_id, config, Software.here(), log_format)
    )
