"""A node dies."""

import random
from typing import TYPE_CHECKING

from tests.faults.real.fault import Struck

if TYPE_CHECKING:
    from tests.faults.real.rig import Rig


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
