"""The store dies."""

import random
from typing import TYPE_CHECKING

from tests.faults.real.fault import Struck

if TYPE_CHECKING:
    from tests.faults.real.site import Site


class KillServer:
    """SIGKILL of the S3 server while the cluster uses it."""

    name = "S3 server killed"
    kills = True
    outage_s = (0.0, 5.0)

    def strike(self, site: "Site", chance: random.Random) -> Struck:
        """Kill it."""
        site.server.kill()
        return Struck(site.server.endpoint_url)

    def heal(self, site: "Site") -> None:
        """The same data on the same ports again."""
        site.server.restart()
