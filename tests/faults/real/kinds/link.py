"""A node cannot be reached, while everything on it goes on."""

import random
from typing import TYPE_CHECKING

from tests.faults.real.fault import Struck
from tests.faults.real.network import ParsedKey

if TYPE_CHECKING:
    from tests.faults.real.rig import Rig


class CutLink:
    """A node's only link lets nothing through: not to the head, the driver or the store."""

    name = "link cut"
    kills = False
    outage_s = (1.0, 15.0)

    def __init__(self) -> None:
        self._cut: ParsedKey | None = None

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
