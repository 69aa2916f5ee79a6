"""A build on machines that come and go, as a process of its own: prints what it saw as JSON.

    python -m tests.cluster.elastic_cluster FOLDER

It has a cluster of its own, and so cannot share a process with the tests' Ray.
"""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import ray
from ray.cluster_utils import Cluster

from pipeline.cluster.driver import Driver
from pipeline.cluster.summary import UnitSummary
from pipeline.config import ClusterConfig
from tests.cluster import stand_ins

WORKERS = 4
DEADLINE_S = 120
PREEMPTION = 2
"""Ray's ``DRAIN_NODE_REASON_PREEMPTION``."""

NODE = {"num_cpus": 1, "object_store_memory": 80_000_000}


class NotesItsNode(stand_ins.Worker):
    """Takes a moment for a unit and notes on which machine."""

    def compute(self, unit: int, attempt: int) -> None:
        threading.Event().wait(0.05)
        (self._folder / f"node-{ray.get_runtime_context().get_node_id()}-{unit}").touch()


class Scene:
    """A build under way and what is seen of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._over = False
        self.sent: list[int] = []
        self.done: list[int] = []
        self.started = 0
        """Workers, all in all."""
        actor = ray.remote(num_cpus=1, max_concurrency=4, max_restarts=0)(NotesItsNode)

        def spawn() -> Any:
            self.started += 1
            return actor.remote(folder)

        config = ClusterConfig(workers=WORKERS, max_attempts=1)
        self._summaries = Driver(spawn, config, unit_size=lambda unit: 8).run(self._units())

    def _units(self) -> Iterator[int]:
        for unit in takewhile(lambda _: not self._over, count()):
            self.sent.append(unit)
            yield unit

    def go_on_until(self, met: Callable[[set[str]], bool]) -> float:
        """Follow the build until what its machines have done from now on will do; seconds."""
        begin, start = time.monotonic(), len(self.done)
        while not met(self.nodes(self.done[start:])):
            assert time.monotonic() - begin < DEADLINE_S, "waited in vain"
            self._take(next(self._summaries))
        return time.monotonic() - begin

    def go_on_for(self, units: int) -> set[str]:
        """Follow so many units; the machines that did them."""
        start = len(self.done)
        for _ in range(units):
            self._take(next(self._summaries))
        return self.nodes(self.done[start:])

    def finish(self) -> None:
        self._over = True
        for summary in self._summaries:
            self._take(summary)

    def nodes(self, units: list[int]) -> set[str]:
        """The machines that did these units."""
        wanted = set(units)
        noted = (path.name.split("-")[1:] for path in self._folder.glob("node-*"))
        return {node for node, unit in noted if int(unit) in wanted}

    def _take(self, summary: UnitSummary) -> None:
        self.done.append(summary.unit)


def play(folder: Path) -> dict[str, Any]:
    """One machine, then four, one of them drained, one of them lost."""
    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "num_cpus": 0})
    try:
        cluster.add_node(**NODE)
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        scene = Scene(folder)
        first = scene.go_on_for(5)
        added = [cluster.add_node(**NODE) for _ in range(3)]
        seconds = scene.go_on_until(lambda nodes: len(nodes) == WORKERS)

        drained, lost = added[0], added[1]
        ray._private.worker.global_worker.gcs_client.drain_node(
            drained.node_id, PREEMPTION, "spot notice", 0
        )
        while drained.node_id in scene.go_on_for(30):
            pass
        cluster.remove_node(lost, allow_graceful=False)
        # One more for each of the two that went: by then the driver knows of the loss.
        scene.go_on_until(lambda _: scene.started == WORKERS + 2)
        remaining = scene.go_on_for(30)
        scene.finish()
        return {
            "machines_at_first": len(first),
            "seconds_until_four_work": round(seconds, 1),
            "machines_at_last": len(remaining),
            "drained_or_lost_at_last": len(remaining & {drained.node_id, lost.node_id}),
            "sent": len(scene.sent),
            "done": len(scene.done),
            "done_twice": len(scene.done) - len(set(scene.done)),
        }
    finally:
        ray.shutdown()
        cluster.shutdown()


if __name__ == "__main__":
    print(json.dumps(play(Path(sys.argv[1]))))
