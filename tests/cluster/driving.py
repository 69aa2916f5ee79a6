"""Running the driver with stand-ins for workers, which are real Ray actors."""

import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
import ray
from ray.exceptions import RayActorError, RayTaskError

from pipeline.cluster import driver
from pipeline.cluster.driver import Driver
from pipeline.config.sections import ClusterConfig
from pipeline.monitor.unit_summary import UnitSummary
from tests.cluster import stand_ins

CALLS_AT_ONCE = 8
"""More than the driver may send, so that the limit of the actor does not hide an error."""

DEATH_TIMEOUT_S = 120


@pytest.fixture
def nothing_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Disable stragglers, so that attempts can be counted on a busy machine."""
    monkeypatch.setattr(driver, "SLOW", math.inf)


class Spawn:
    """Starts stand-ins and remembers them."""

    def __init__(self, kind: type[stand_ins.Worker], folder: Path) -> None:
        self.kind = kind
        self.folder = folder
        self.actors: list[Any] = []

    def __call__(self) -> Any:
        actor = (
            ray.remote(self.kind)
            .options(num_cpus=0.1, max_concurrency=CALLS_AT_ONCE, max_restarts=0)
            .remote(self.folder)
        )
        self.actors.append(actor)
        return actor

    def all_dead(self) -> bool:
        """Return True if every actor dies in time. Ray kills actors without waiting."""
        return all(_dies(actor) for actor in self.actors)


def _dies(actor: Any) -> bool:
    deadline = monotonic() + DEATH_TIMEOUT_S
    while monotonic() < deadline:
        try:
            ray.get(actor.set_up.remote())
        except RayActorError:
            return True
        except RayTaskError:  # of a worker whose ``set_up`` fails, and which is still alive
            continue
    return False


def run_units(
    spawn: Spawn,
    units: Iterable[int],
    *,
    workers: int = 2,
    max_attempts: int = 3,
    hang_seconds: float = 600.0,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[UnitSummary]:
    config = ClusterConfig(workers=workers, max_attempts=max_attempts, hang_seconds=hang_seconds)
    return Driver(spawn, config, unit_size=lambda unit: stand_ins.SIZE, stop=stop).run(units)


def unit_numbers(summaries: Iterable[UnitSummary]) -> list[int]:
    return sorted(summary.unit for summary in summaries)
