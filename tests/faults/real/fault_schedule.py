"""The order and times of faults, as a function of a seed."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.faults.real.cluster_faults import CutLink, KillDriver, KillRaylet, KillServer, KillWorker
from tests.faults.real.fault import Fault
from tests.faults.real.wire_faults import busy, resets, slow

_MAX_PAUSE_S = 3.0
_ALONE = 0.2
"""Share of the faults after which the build may recover before the next fault."""

KILLS_A_ROUND = 3
"""Number of times that each kill occurs in a round. Other faults occur once."""


@dataclass(frozen=True)
class Strike:
    """One fault with its random values."""

    fault: Fault
    pause_s: float
    """Seconds before the fault."""
    outage_s: float
    """Seconds between ``strike`` and ``heal``."""
    alone: bool
    """True if the next fault waits until the build has recovered from this one."""
    chance: random.Random
    """Generator for the fault's other choices, such as the node."""


def strikes(seed: int, faults: Sequence[Fault]) -> Iterator[Strike]:
    """Yield faults forever, in shuffled rounds that contain each kind.

    Kills occur ``KILLS_A_ROUND`` times in a round, because recovery from them is timed.
    """
    chance = random.Random(seed)
    while True:
        deck = [fault for fault in faults for _ in range(KILLS_A_ROUND if fault.kills else 1)]
        chance.shuffle(deck)
        for fault in deck:
            yield Strike(
                fault=fault,
                pause_s=chance.uniform(0.0, _MAX_PAUSE_S),
                outage_s=chance.uniform(*fault.outage_s),
                alone=chance.random() < _ALONE,
                chance=random.Random(chance.getrandbits(64)),
            )


def every_kind(*, links: bool) -> list[Fault]:
    """Return one fault of each kind. ``links`` adds the one that cuts a node's link."""
    faults: list[Fault] = [KillDriver(), KillWorker(), KillRaylet(), KillServer()]
    faults += [resets("up"), resets("down"), busy(), slow()]
    return [*faults, CutLink()] if links else faults
