"""The driver dies; the same command resumes."""

import random
from typing import TYPE_CHECKING

from tests.faults.real.fault import Struck
from tests.faults.real.network import Host

if TYPE_CHECKING:
    from tests.faults.real.rig import Rig


class KillDriver:
    """SIGKILL of ``npd build``."""

    name = "driver killed"
    kills = True
    outage_s = (0.0, 2.0)

    def strike(self, rig: "Rig", chance: random.Random) -> Struck | None:
        """Kill it."""
        if rig.build is None or not rig.build.kill():
            return None
        return Struck(f"pid {rig.build.pid}")

    def heal(self, rig: "Rig") -> bool:
        """Run the same command again."""
        assert rig.build is not None
        rig.build.resume()
        return True


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


class KillRaylet:
    """SIGKILL of a raylet, with which its node and the node's worker go."""

    name = "raylet killed"
    kills = True
    outage_s = (0.0, 1.0)

    def strike(self, rig: "Rig", chance: random.Random) -> Struck | None:
        """Kill one."""
        raylets = [(node, raylet) for node in rig.nodes if (raylet := node.raylet())]
        if not raylets:
            return None
        node, raylet = chance.choice(raylets)
        raylet.kill()
        return Struck(f"pid {raylet.pid} on {node.place.name}", node.place.source)

    def heal(self, rig: "Rig") -> bool:
        """Nothing: the campaign revives nodes that have ended, as a supervisor would."""
        return True


class KillServer:
    """SIGKILL of the S3 server while the cluster uses it."""

    name = "S3 server killed"
    kills = True
    outage_s = (0.0, 5.0)

    def strike(self, rig: "Rig", chance: random.Random) -> Struck:
        """Kill it."""
        rig.server.kill()
        return Struck(rig.server.endpoint_url)

    def heal(self, rig: "Rig") -> bool:
        """The same data on the same ports again."""
        rig.server.restart()
        return True


class CutLink:
    """A node's only link lets nothing through: not to the head, the driver or the store."""

    name = "link cut"
    kills = False
    outage_s = (1.0, 15.0)

    def __init__(self) -> None:
        self._cut: Host | None = None

    def strike(self, rig: "Rig", chance: random.Random) -> Struck:
        """Cut one."""
        self._cut = chance.choice(rig.nodes).place
        self._cut.cut()
        return Struck(self._cut.name, self._cut.source)

    def heal(self, rig: "Rig") -> bool:
        """Mend it. A node that was given up meanwhile ends itself and is started again."""
        assert self._cut is not None
        self._cut.mend()
        self._cut = None
        return True
