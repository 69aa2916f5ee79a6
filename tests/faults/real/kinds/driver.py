"""The driver dies; the same command resumes."""

import random
from typing import TYPE_CHECKING

from tests.faults.real.fault import Struck

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
