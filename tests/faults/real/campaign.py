"""A sequence of builds under a sequence of faults."""

import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from pipeline.cluster.messages import UNITS_IN_FLIGHT
from tests.faults.real.build_process import BuildProcess
from tests.faults.real.cluster_faults import KillDriver
from tests.faults.real.fault import Struck
from tests.faults.real.fault_schedule import Strike
from tests.faults.real.rig import Rig
from tests.faults.real.supervisor import Supervisor, build_undisturbed
from tests.faults.real.tally import Tally
from tests.waiting import until

STALL_S = 180.0
"""Seconds without a commit and without a fault after which a build counts as hanging."""


class StalledError(Exception):
    """A build makes no progress."""


class Campaign:
    """An undisturbed build on a running rig, followed by ``run``.

    ``report`` prints a line.
    """

    def __init__(self, rig: Rig, config: Path, report: Callable[[str], None]) -> None:
        undisturbed = build_undisturbed(rig, config)
        self.tally = Tally(
            load_s=undisturbed.load_s, most_in_flight=UNITS_IN_FLIGHT * len(rig.nodes)
        )
        self._rig = rig
        self._is_calm = False  # the first worker has not started yet
        self._begun = time.monotonic()
        self._report = lambda text: report(f"{time.monotonic() - self._begun:6.1f} s  {text}")
        self._supervisor = Supervisor(rig, config, undisturbed, self.tally, self._report)
        self._report(f"undisturbed: {undisturbed.num_units} units")

    def run(self, strikes: Iterable[Strike], seconds: float) -> Tally:
        """Inject faults for ``seconds``, then let the last build finish.

        Raises ``StalledError`` if a build makes no progress.
        """
        self._begun = self._calm_since = time.monotonic()
        self._build = self._supervisor.begin()
        for strike in strikes:
            self._continue_until(lambda: False, strike.pause_s)
            if time.monotonic() - self._begun > seconds:
                break
            self._strike(strike)
        until(self._has_ended, math.inf)
        self.tally.seconds = time.monotonic() - self._begun
        return self.tally

    def _strike(self, strike: Strike) -> None:
        fault = strike.fault
        if strike.alone and not self._is_calm:
            self._await_unit(self._build, self._calm_since)
            self._is_calm = True
        build = self._build
        struck = fault.strike(self._rig, strike.chance)
        if struck is None:
            return  # there was no target, for example no worker during compaction
        if isinstance(fault, KillDriver):
            self._supervisor.note_driver_death()
        self._continue_until(lambda: False, strike.outage_s)
        if not fault.heal(self._rig):
            self._report(f"{fault.name}: nothing was sent meanwhile")
            return
        self._calm_since = time.monotonic()
        self.tally.strikes[fault.name] += 1
        self.tally.kills += fault.kills
        outcome = self._recovery(fault.name, struck, build) if strike.alone else "not awaited"
        self._is_calm = strike.alone and self._build is build
        self._report(f"{fault.name}, {strike.outage_s:.1f} s, {struck.what}: {outcome}")

    def _recovery(self, name: str, struck: Struck, build: BuildProcess) -> str:
        """Wait for the next unit and record how long it took."""
        healed = self._calm_since
        committed = self._await_unit(build, healed, struck.address)
        if committed is None:
            return "the build was done first"
        seconds = committed - healed
        self.tally.recoveries[name].append(seconds)
        return f"next unit after {seconds:.1f} s"

    def _await_unit(
        self, build: BuildProcess, since: float, address: str | None = None
    ) -> float | None:
        """Return when the next unit was committed, or None if the build ends first."""

        def next_unit() -> float | None:
            commits = (
                seen.when
                for seen in self._rig.gate.commits(build.place)
                if seen.when > since and address in (None, seen.address)
            )
            return next(commits, None)

        self._continue_until(
            lambda: self._build is not build or next_unit() is not None, timeout_s=math.inf
        )
        return next_unit()

    def _continue_until(self, condition: Callable[[], bool], timeout_s: float) -> None:
        def holds() -> bool:
            if self._has_ended():
                self._build = self._supervisor.begin()
                self._calm_since, self._is_calm = time.monotonic(), False
            return condition()

        until(holds, timeout_s)

    def _has_ended(self) -> bool:
        ended = self._supervisor.tend(self._build)
        commits = self._rig.gate.commits(self._build.place)
        moved = max(self._calm_since, commits[-1].when if commits else 0.0)
        if not ended and time.monotonic() - moved > STALL_S:
            raise StalledError(f"nothing for {STALL_S:.0f} s.\n{self._build.tail()}")
        return ended
