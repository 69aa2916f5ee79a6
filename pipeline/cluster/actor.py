"""The worker as a Ray actor, which answers health checks and stops when its machine is drained."""

import signal
from types import FrameType

import ray

from pipeline.cluster.summary import Sign
from pipeline.cluster.worker import UnitWorker
from pipeline.config.sections import Config


class WorkerActor(UnitWorker):
    """A ``UnitWorker`` whose process is Ray's.

    SIGTERM is how a machine says that it is going down. Ray's own answer is to end the process on
    the spot; here what is whole is still committed, the rest is dropped, and the driver, who sees
    ``leaving``, ends the process. A second SIGTERM gets Ray's answer.
    """

    def __init__(self, url: str, plan_id: str, config: Config) -> None:
        super().__init__(url, plan_id, config)
        self._rays_own = signal.signal(signal.SIGTERM, self._terminated)

    def health_check(self) -> Sign:
        """Answered beside the work, at once, unless the process hangs as a whole."""
        return Sign(
            count=self.heartbeat.count,
            leaving=self.heartbeat.leaving,
            node=ray.get_runtime_context().get_node_id(),
        )

    def leave(self) -> None:
        """Drop the current unit at its next step and take no other; uploads go on."""
        self.heartbeat.leave()

    def _terminated(self, number: int, frame: FrameType | None) -> None:
        self.leave()
        signal.signal(signal.SIGTERM, self._rays_own)
