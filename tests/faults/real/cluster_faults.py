"""Faults of processes and machines: driver, worker, raylet, S3 server and network link."""

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
        """Kill the process."""
        if rig.build is None or not rig.build.kill():
            return None
        return Struck(f"pid {rig.build.pid}")

    def heal(self, rig: "Rig") -> bool:
        """Run the same command again."""
        assert rig.build is not None
        rig.build.resume()
        return True


class KillWorker:
    """SIGKILL of a worker process on one node."""

    name = "worker killed"
    kills = True
    outage_s = (0.0, 0.0)

    def strike(self, rig: "Rig", chance: random.Random) -> Struck | None:
        """Kill a worker that is drawn from all nodes."""
        workers = [(node, worker) for node in rig.nodes for worker in node.workers()]
        if not workers:
            return None
        node, worker = chance.choice(workers)
        worker.kill()
        # A node has one CPU, so the replacement starts on the same node.
        return Struck(f"pid {worker.pid} on {node.place.name}", node.place.source)

    def heal(self, rig: "Rig") -> bool:
        """Do nothing: the driver replaces the worker."""
        return True


class KillRaylet:
    """SIGKILL of a raylet, which ends its node and the worker on it."""

    name = "raylet killed"
    kills = True
    outage_s = (0.0, 1.0)

    def strike(self, rig: "Rig", chance: random.Random) -> Struck | None:
        """Kill a raylet that is drawn from all nodes."""
        raylets = [(node, raylet) for node in rig.nodes if (raylet := node.raylet())]
        if not raylets:
            return None
        node, raylet = chance.choice(raylets)
        raylet.kill()
        return Struck(f"pid {raylet.pid} on {node.place.name}", node.place.source)

    def heal(self, rig: "Rig") -> bool:
        """Do nothing: the campaign restarts nodes that have ended."""
        return True


class KillServer:
    """SIGKILL of the S3 server while the cluster uses it."""

    name = "S3 server killed"
    kills = True
    outage_s = (0.0, 5.0)

    def strike(self, rig: "Rig", chance: random.Random) -> Struck:
        """Kill the process."""
        rig.server.kill()
        return Struck(rig.server.endpoint_url)

    def heal(self, rig: "Rig") -> bool:
        """Serve the same data on the same ports again."""
        rig.server.restart()
        return True


class CutLink:
    """Cut of a node's only link, to the head, the driver and the store."""

    name = "link cut"
    kills = False
    outage_s = (1.0, 15.0)

    def __init__(self) -> None:
        self._cut: Host | None = None

    def strike(self, rig: "Rig", chance: random.Random) -> Struck:
        """Cut the link of a node that is drawn from all nodes."""
        self._cut = chance.choice(rig.nodes).place
        self._cut.cut()
        return Struck(self._cut.name, self._cut.source)

    def heal(self, rig: "Rig") -> bool:
        """Restore the link. A node that Ray gave up meanwhile exits and is started again."""
        assert self._cut is not None
        self._cut.restore()
        self._cut = None
        return True
