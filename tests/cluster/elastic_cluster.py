"""A build on machines that join and leave. Prints a JSON report.

    python -m tests.cluster.elastic_cluster FOLDER

It starts a separate cluster, so it cannot share a process with the Ray of the tests.
"""

import json
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import ray
from ray.cluster_utils import Cluster

from pipeline.cluster.driver import Driver
from pipeline.cluster.messages import Work
from pipeline.config.sections import ClusterConfig
from pipeline.monitor.unit_summary import UnitSummary
from tests.cluster import stand_ins
from tests.waiting import until

WORKERS = 4
DEADLINE_S = 120
PREEMPTION = 2
"""Ray's ``DRAIN_NODE_REASON_PREEMPTION``."""

NODE: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 80_000_000}
HEAD: dict[str, Any] = {**NODE, "num_cpus": 0, "include_dashboard": False}


@dataclass(frozen=True, kw_only=True)
class Located(UnitSummary):
    """A summary with the machine that computed the unit.

    Files of the stand-ins cannot show this: they also exist for a unit whose machine was lost
    before it could answer.
    """

    node: str


class ReportsNode(stand_ins.Worker):
    """Takes a moment for each unit and reports its machine."""

    def compute(self, unit: int, attempt: int) -> None:
        threading.Event().wait(0.05)

    def run(self, work: Work) -> UnitSummary | None:
        summary = super().run(work)
        assert summary is not None, "max_attempts is 1, and there are no probes"
        return Located(**vars(summary), node=ray.get_runtime_context().get_node_id())


class Scene:
    """A running build and its observed units."""

    def __init__(self, folder: Path) -> None:
        self._over = False
        self.sent: list[int] = []
        self.done: list[int] = []
        self._nodes: list[str] = []
        """Machines of the units in ``done``, in the same order."""
        self.started = 0
        """Total number of workers."""
        actor = ray.remote(ReportsNode).options(num_cpus=1, max_concurrency=4, max_restarts=0)

        def spawn() -> Any:
            self.started += 1
            return actor.remote(folder)

        config = ClusterConfig(workers=WORKERS, max_attempts=1)
        self._summaries = Driver(spawn, config, unit_size=lambda unit: 8).run(self._units())

    def _units(self) -> Iterator[int]:
        for unit in takewhile(lambda _: not self._over, count()):
            self.sent.append(unit)
            yield unit

    def go_on_until(self, met: Callable[[set[str]], bool]) -> None:
        """Follow the build until ``met`` is True for the machines of the next units."""
        start = len(self.done)
        while not met({*self._nodes[start:]}):
            self._take(next(self._summaries))

    def go_on_for(self, units: int) -> set[str]:
        """Follow the next units and return the machines that computed them."""
        start = len(self.done)
        for _ in range(units):
            self._take(next(self._summaries))
        return {*self._nodes[start:]}

    def finish(self) -> None:
        self._over = True
        for summary in self._summaries:
            self._take(summary)

    def _take(self, summary: UnitSummary) -> None:
        assert isinstance(summary, Located)
        self.done.append(summary.unit)
        self._nodes.append(summary.node)


def _actors_left() -> list[str]:
    """Return the states of the actors that run or wait."""
    states = (actor["State"] for actor in ray._private.state.actors().values())
    return [state for state in states if state != "DEAD"]


def play(folder: Path) -> dict[str, Any]:
    """One machine, then four, one of them drained, one of them lost."""
    cluster = Cluster(initialize_head=True, head_node_args=HEAD)
    try:
        cluster.add_node(**NODE)
        ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
        scene = Scene(folder)
        first = scene.go_on_for(5)
        added = [cluster.add_node(**NODE) for _ in range(3)]
        scene.go_on_until(lambda nodes: len(nodes) == WORKERS)

        drained, lost = added[0], added[1]
        worker: Any = ray._private.worker.global_worker
        worker.gcs_client.drain_node(drained.node_id, PREEMPTION, "spot notice", 0)
        while drained.node_id in scene.go_on_for(30):
            pass
        cluster.remove_node(lost, allow_graceful=False)
        # With one more worker for each of the two lost machines, the driver has noticed the losses.
        # There may be more, because a worker that is briefly unreachable is replaced too.
        scene.go_on_until(lambda _: scene.started >= WORKERS + 2)
        lost_nodes = {drained.node_id, lost.node_id}
        while len(remaining := scene.go_on_for(30)) < WORKERS - 2 or remaining & lost_nodes:
            pass
        scene.finish()
        # Two workers were waiting for a machine. They must not start on one that joins now.
        cancelled = until(lambda: not _actors_left(), DEADLINE_S)
        cluster.add_node(**NODE)
        free = until(lambda: ray.available_resources().get("CPU") == WORKERS - 1, DEADLINE_S)
        return {
            "cancelled_at_the_end": cancelled and not _actors_left(),
            "free_after_the_end": free,
            "machines_at_first": len(first),
            "machines_at_last": len(remaining),
            "sent": len(scene.sent),
            "done": len(scene.done),
            "done_twice": len(scene.done) - len(set(scene.done)),
        }
    finally:
        ray.shutdown()
        cluster.shutdown()


if __name__ == "__main__":
    print(json.dumps(play(Path(sys.argv[1]))))
