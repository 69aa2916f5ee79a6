"""Stand-in workers without a model, whose units all succeed. Other files define failing ones.

They record every attempt and every commit as a file in one folder, like receipts in a store.
"""

import json
import secrets
import threading
from pathlib import Path

import ray

from pipeline.cluster.heartbeat import Heartbeat
from pipeline.cluster.messages import HealthStatus, Work
from pipeline.monitor.unit_summary import UnitSummary
from pipeline.storage.receipts import Commit

BARRIER_TIMEOUT_S = 300

SIZE = 8
"""Number of candidates per unit."""


class Worker:
    """Commits every unit at its first attempt."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._heartbeat = Heartbeat()

    def set_up(self) -> None:
        """Nothing to load."""

    def health_check(self) -> HealthStatus:
        return HealthStatus(
            count=self._heartbeat.count,
            leaving=self._heartbeat.leaving,
            node=ray.get_runtime_context().get_node_id(),
        )

    def leave(self) -> None:
        self._heartbeat.leave()

    def run(self, work: Work) -> UnitSummary | None:
        self._heartbeat.tick()
        number = f"{work.unit}-{secrets.token_hex(8)}"
        (self._folder / f"{'probe' if work.probe is not None else 'attempt'}-{number}").touch()
        live = (set(range(SIZE)) if work.probe is None else set(work.probe)) - set(
            work.failing_candidates
        )
        self.compute_candidates(work.unit, live)
        if work.probe is not None:
            return None
        self.compute(work.unit, len(attempts(self._folder, work.unit)))
        (self._folder / f"done-{work.unit}").write_text(
            json.dumps(
                {position: fault.kind for position, fault in work.failing_candidates.items()}
            )
        )
        return UnitSummary(
            unit=work.unit,
            candidates=SIZE,
            judged=SIZE,
            kept=2,
            rejected=2,
            failed=len(work.failing_candidates),
            compute_seconds=0.0,
            commit=self.commit(work.unit),
        )

    def compute(self, unit: int, attempt: int) -> None:
        """Hook for subclasses, called in each attempt with its number, from 1."""

    def compute_candidates(self, unit: int, live: set[int]) -> None:
        """Hook for subclasses, called with the positions of the computed candidates."""

    def commit(self, unit: int) -> Commit:
        return Commit.MINE


def attempts(folder: Path, unit: int) -> list[Path]:
    return list(folder.glob(f"attempt-{unit}-*"))


def probes(folder: Path, unit: int) -> list[Path]:
    return list(folder.glob(f"probe-{unit}-*"))


def done(folder: Path) -> set[int]:
    return {int(path.name.removeprefix("done-")) for path in folder.glob("done-*")}


def failing_candidates(folder: Path, unit: int) -> dict[int, str]:
    """Return position and fault kind of the candidates left out, from the receipt of a unit."""
    found = json.loads((folder / f"done-{unit}").read_text())
    return {int(position): kind for position, kind in found.items()}


class CountsInFlight(Worker):
    """Runs units in pairs and records how many are in flight."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._pair = threading.Barrier(2)
        self._lock = threading.Lock()
        self._now = 0

    def compute(self, unit: int, attempt: int) -> None:
        with self._lock:
            self._now += 1
            (self._folder / f"in-flight-{self._now}").touch()
        self._pair.wait(BARRIER_TIMEOUT_S)
        with self._lock:
            self._now -= 1


class Disagrees(Worker):
    """Unit 2 was committed by another attempt, with other bytes."""

    def commit(self, unit: int) -> Commit:
        return Commit.DIFFERENT if unit == 2 else Commit.MINE
