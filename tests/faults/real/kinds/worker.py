"""A worker dies."""

import random
from typing import TYPE_CHECKING

from tests.faults.real.fault import Struck

if TYPE_CHECKING:
    from tests.faults.real.rig import Rig


class KillWorker:
    """SIGKILL of the process that computes units on one node."""

    name = "worker killed"
    kills = True
    outage_s = (0.0, 0.0)

    def strike(self, rig: "Rig", chance: random.Random) -> Struck | None:
        """Kill one, drawn from all nodes."""
        workers = [(node, worker) for node in rig.nodes for worker in node.workers()]
        if not workers:
            return None
        node, worker = chance.choice(workers)
        worker.kill()
        # A node has one CPU, so this is where its successor will be.
        return Struck(f"pid {worker.pid} on {node.place.name}", node.place.source)

    def heal(self, rig: "Rig") -> bool:
        """Nothing: the driver replaces it."""
        return True
