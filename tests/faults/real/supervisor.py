"""Operation of a rig: builds follow one another, and ended processes are restarted."""

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from pipeline.storage.open import open_store
from tests.faults.real.audit import (
    DriverDeath,
    Sealed,
    StoreAudit,
    num_again,
    read_sealed,
    recomputed,
)
from tests.faults.real.build_process import BuildProcess
from tests.faults.real.rig import Rig
from tests.faults.real.tally import Tally
from tests.waiting import until

_DEADLINE_S = 300.0


@dataclass(frozen=True)
class Undisturbed:
    """Bytes and times of a build without faults."""

    sealed: Sealed
    num_units: int
    load_s: float
    """Seconds from the start of a worker process to its first unit."""


def build_undisturbed(rig: Rig, config: Path) -> Undisturbed:
    """Build without faults. Raises ``RuntimeError`` if it fails."""
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


class Supervisor:
    """Operator that restarts nodes, resumes builds and audits each build."""

    def __init__(
        self,
        rig: Rig,
        config: Path,
        undisturbed: Undisturbed,
        tally: Tally,
        report: Callable[[str], None],
    ) -> None:
        self._rig = rig
        self._config = config
        self._undisturbed = undisturbed
        self._tally = tally
        self._report = report
        self._numbers = count(1)
        self._deaths: list[DriverDeath] = []

    def begin(self) -> BuildProcess:
        """Start the next build."""
        build = self._rig.start_build(self._config, f"build-{next(self._numbers)}")
        self._audit = StoreAudit(open_store(build.url))
        self._deaths = []
        return build

    def tend(self, build: BuildProcess) -> bool:
        """Restart what has ended. Return True once the build has succeeded and is audited.

        Call it repeatedly.
        """
        self._rig.revive_nodes()
        status = build.poll()
        if status == 0:
            self._close(build)
            return True
        # After SIGKILL the fault itself resumes the build.
        if status is not None and status != -signal.SIGKILL:
            self._report(f"{build.place} ended with {status} and is resumed: {build.last_line()}")
            build.resume()
        return False

    def note_driver_death(self) -> None:
        """Record the units that are committed when a driver is killed. Call it right after."""
        committed = self._audit.committed()
        self._deaths.append(DriverDeath(time.monotonic(), frozenset(committed)))

    def _close(self, build: BuildProcess) -> None:
        result = self._audit.close(self._undisturbed.sealed)
        uploads, tally = self._rig.gate.uploads(build.place), self._tally
        tally.builds += 1
        tally.identical += not result.different
        tally.units += self._undisturbed.num_units
        tally.resumes += build.num_resumes
        tally.uploads_again += num_again(uploads)
        tally.lost += len(result.lost)
        tally.duplicated += len(result.duplicated)
        tally.driver_deaths += [recomputed(death, uploads) for death in self._deaths]
        tally.problems += [f"{build.place}: {problem}" for problem in result.problems()]
        self._report(
            f"{build.place} is sealed after {build.num_resumes} resumes: "
            f"{'different' if result.different else 'identical'} bytes"
        )
