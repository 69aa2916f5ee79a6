"""The driver dies; the same command resumes."""

import random
from typing import TYPE_CHECKING

from tests.faults.real.fault import Struck

if TYPE_CHECKING:
    from tests.faults.real.site import Site


class KillDriver:
    """SIGKILL of ``npd build``."""

    name = "driver killed"
    kills = True
    outage_s = (0.0, 2.0)

    def strike(self, site: "Site", chance: random.Random) -> Struck | None:
        """Kill it."""
        if site.build is None or not site.build.kill():
            return None
        return Struck(f"pid {site.build.pid}")

    def heal(self, site: "Site") -> None:
        """Run the same command again."""
        assert site.build is not None
        site.build.resume()
