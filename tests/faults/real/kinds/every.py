"""All kinds of faults."""

from tests.faults.real.fault import Fault
from tests.faults.real.kinds.driver import KillDriver
from tests.faults.real.kinds.link import CutLink
from tests.faults.real.kinds.raylet import KillRaylet
from tests.faults.real.kinds.server import KillServer
from tests.faults.real.kinds.wire import busy, resets, slow
from tests.faults.real.kinds.worker import KillWorker


def every_kind(*, links: bool) -> list[Fault]:
    """One of each; ``links`` says whether nodes have links that can be cut."""
    faults: list[Fault] = [KillDriver(), KillWorker(), KillRaylet(), KillServer()]
    faults += [resets("up"), resets("down"), busy(), slow()]
    return [*faults, CutLink()] if links else faults
