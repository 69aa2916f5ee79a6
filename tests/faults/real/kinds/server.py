"""The store dies."""

import random
from typing import TYPE_CHECKING

from tests.faults.real.fault import Struck

if TYPE_CHECKING:
    from tests.faults.real.rig import Rig


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
