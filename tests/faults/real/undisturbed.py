"""The build that no fault touches: what all others are compared with."""

import time
from dataclasses import dataclass
from pathlib import Path

from pipeline.storage.open import open_store
from tests.faults.real.accountant import Sealed, read_sealed
from tests.faults.real.again import num_again
from tests.faults.real.rig import Rig
from tests.waiting import until

_DEADLINE_S = 300.0


@dataclass(frozen=True)
class Undisturbed:
    """Its bytes and its times."""

    sealed: Sealed
    num_units: int
    load_s: float
    """From the start of a worker's process to its first unit."""


def build_undisturbed(rig: Rig, config: Path) -> Undisturbed:
    """Raises ``RuntimeError`` where even this does not end well."""
    build = rig.start_build(config, "undisturbed")

    def has_ended() -> bool:
        return build.poll() is not None

    until(lambda: has_ended() or bool(rig.gate.commits(build.place)), _DEADLINE_S)
    first_unit = time.time()
    workers = [worker for node in rig.nodes for worker in node.workers()]
    starts = [worker.create_time() for worker in workers]
    until(has_ended, _DEADLINE_S)
    if build.poll() != 0:
        raise RuntimeError(f"the undisturbed build failed: {build.poll()}\n{build.tail()}")
    uploads = rig.gate.uploads(build.place)
    if num_again(uploads):
        raise RuntimeError("the undisturbed build uploaded units twice")
    return Undisturbed(read_sealed(open_store(build.url)), len(uploads), first_unit - min(starts))
