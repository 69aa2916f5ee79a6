"""Which fault comes when: decided by a seed alone."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.faults.real.cluster_faults import CutLink, KillDriver, KillRaylet, KillServer, KillWorker
from tests.faults.real.fault import Fault
from tests.faults.real.wire_faults import busy, resets, slow

_MAX_PAUSE_S = 3.0
_ALONE = 0.2
"""Share of the faults after which the build may recover before the next one."""

KILLS_A_ROUND = 3
"""How often each way of killing comes while each other fault comes once."""


@dataclass(frozen=True)
class Strike:
    """One fault, with what was drawn for it."""

    fault: Fault
    pause_s: float
    """Before it."""
    outage_s: float
    """From strike to heal."""
    alone: bool
    """Whether the next one waits until the build has recovered from this one."""
    chance: random.Random
    """Decides what the fault itself leaves open, such as which node."""


def strikes(seed: int, faults: Sequence[Fault]) -> Iterator[Strike]:
    """Faults without end: rounds with each kind once, kills oftener, in a shuffled order."""
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
    """One of each; ``links`` says whether nodes have links that can be cut."""
    faults: list[Fault] = [KillDriver(), KillWorker(), KillRaylet(), KillServer()]
    faults += [resets("up"), resets("down"), busy(), slow()]
    return [*faults, CutLink()] if links else faults
