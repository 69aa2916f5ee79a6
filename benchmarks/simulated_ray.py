"""Ray's calls that the driver makes, simulated in this process for a thousand workers.

A call returns a reference at once and ends at a time that is drawn in advance. ``wait`` returns
references in the order of its list, as Ray does, and sleeps until the first call ends.
"""

import heapq
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from time import monotonic, sleep, thread_time
from unittest.mock import patch

from ray.exceptions import RayActorError, RayTaskError

from pipeline.cluster import ray_session, worker_handle, worker_pool
from pipeline.cluster.messages import HealthStatus, Work
from pipeline.cluster.ray_session import ActorProcess
from pipeline.monitor.unit_summary import UnitSummary
from pipeline.storage.receipts import Commit

_SLOW = 10.0
_HEALTH_SECONDS = 0.001
_NODES = 125
"""Machines, each with eight workers."""


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Probabilities of what happens to an attempt at a unit, or to a worker."""

    fails: float
    """The attempt raises an error."""
    slow: float
    """The attempt takes ten times as long."""
    dies: float
    """The worker dies, with all its calls."""
    joins_late: float
    """The worker has to wait for a machine."""


class _Ref:
    """Reference to a call. Its identity is its hash."""

    __slots__ = ("actor", "result")

    def __init__(self, actor: "_Actor", result: object) -> None:
        self.actor = actor
        self.result = result


class _Method:
    """Method of an actor."""

    __slots__ = ("remote",)

    def __init__(self, remote: Callable[..., _Ref]) -> None:
        self.remote = remote


class _Id:
    def __init__(self, number: int) -> None:
        self._number = number

    def hex(self) -> str:
        return f"{self._number:08x}{'0' * 24}"


class _Actor:
    """Handle of a stand-in worker."""

    def __init__(self, ray: "SimulatedRay", number: int, starts: float) -> None:
        self._actor_id = _Id(number)
        self.starts = starts
        self.process = ActorProcess(pid=number, address=f"10.0.{number % _NODES}.1")
        self.dead = False
        self.leaving = False
        self.calls: set[_Ref] = set()
        self.set_up = _Method(lambda: ray.set_up(self))
        self.run = _Method(lambda work: ray.run(self, work))
        self.health_check = _Method(lambda: ray.health_check(self))
        self.leave = _Method(lambda: ray.leave(self))


class SimulatedRay:
    """Workers that only wait. ``cpu_seconds`` is the CPU time of the simulation."""

    def __init__(
        self, rates: Rates, *, unit_seconds: float, load_seconds: float, late_seconds: float
    ) -> None:
        self.cpu_seconds = 0.0
        self._rates = rates
        self._unit_seconds = unit_seconds
        self._load_seconds = load_seconds
        self._late_seconds = late_seconds
        self._random = random.Random(0)
        self._numbers = count(1)
        self._steps = 0
        self._ends: list[tuple[float, int, _Ref]] = []
        """Heap of the calls by the time of their end."""
        self._ended: set[_Ref] = set()

    @contextmanager
    def in_place_of_ray(self) -> Iterator[None]:
        """Replace what the driver calls of Ray."""
        with ExitStack() as stack:
            for module, name, value in (
                (worker_pool, "ray", self),
                (ray_session, "ray", self),
                (worker_pool, "check_own_node", lambda: None),
                (worker_pool, "draining_nodes", set),
                (worker_pool, "living_nodes", lambda: {f"node-{n}" for n in range(_NODES)}),
                (worker_handle, "process_of", self._process_of),
            ):
                stack.enter_context(patch.object(module, name, value))
            yield

    def spawn(self) -> _Actor:
        """Start a worker, or request it if it joins late."""
        with self._timed():
            is_late = self._random.random() < self._rates.joins_late
            starts = monotonic() + (self._late_seconds if is_late else 0.0)
            return _Actor(self, next(self._numbers), starts)

    def set_up(self, actor: _Actor) -> _Ref:
        """Load the models."""
        return self._call(actor, actor.starts - monotonic() + self._load_seconds, None)

    def health_check(self, actor: _Actor) -> _Ref:
        """Answer once the worker has started."""
        self._steps += 1
        node = f"node-{actor.process.pid % _NODES}"
        health = HealthStatus(count=self._steps, leaving=actor.leaving, node=node)
        return self._call(actor, max(actor.starts - monotonic(), 0.0) + _HEALTH_SECONDS, health)

    def leave(self, actor: _Actor) -> _Ref:
        """Accept no more units."""
        actor.leaving = True
        return self._call(actor, _HEALTH_SECONDS, None)

    def run(self, actor: _Actor, work: Work) -> _Ref:
        """Take the time of a unit, and succeed, fail or die."""
        rates, drawn = self._rates, self._random.random()
        seconds = self._unit_seconds * self._random.uniform(0.5, 1.5)
        result: object = None
        if drawn < rates.dies:
            result = RayActorError(error_msg="the worker's process has ended")
        elif drawn < rates.dies + rates.fails:
            error = RayTaskError("run", "Traceback: out of luck", RuntimeError("out of luck"))
            result = error.as_instanceof_cause()
        elif work.probe is None:
            result = _summary(work.unit)
        if self._random.random() < rates.slow:
            seconds *= _SLOW
        return self._call(actor, seconds, result)

    def wait(
        self, refs: list[_Ref], *, num_returns: int = 1, timeout: float
    ) -> tuple[list[_Ref], list[_Ref]]:
        """Return the calls that have ended, at most ``num_returns``, and the others."""
        deadline = monotonic() + timeout
        while True:
            with self._timed():
                self._end_calls()
                ended = [ref for ref in refs if ref in self._ended][:num_returns]
                now = monotonic()
                if len(ended) == num_returns or now >= deadline:
                    found = set(ended)
                    return ended, [ref for ref in refs if ref not in found]
                until = min(deadline, self._ends[0][0]) if self._ends else deadline
            sleep(max(until - now, 0.0))

    def get(self, ref: _Ref) -> object:
        """Return the result of a call, or raise its error."""
        self._ended.discard(ref)
        ref.actor.calls.discard(ref)
        if isinstance(ref.result, Exception):
            raise ref.result
        return ref.result

    def kill(self, actor: _Actor) -> None:
        """End a worker. Nothing waits for its calls any more."""
        actor.dead = True
        self._ended -= actor.calls
        actor.calls.clear()

    def _call(self, actor: _Actor, seconds: float, result: object) -> _Ref:
        with self._timed():
            ref = _Ref(actor, result)
            actor.calls.add(ref)
            heapq.heappush(self._ends, (monotonic() + seconds, next(self._numbers), ref))
            return ref

    def _end_calls(self) -> None:
        now = monotonic()
        while self._ends and self._ends[0][0] <= now:
            _, _, ref = heapq.heappop(self._ends)
            actor = ref.actor
            if ref not in actor.calls:
                continue  # the call of a worker that was killed
            self._ended.add(ref)
            if isinstance(ref.result, RayActorError):
                for other in actor.calls - self._ended:
                    other.result = ref.result
                    self._ended.add(other)

    def _process_of(self, actor: _Actor) -> ActorProcess | None:
        return actor.process if monotonic() >= actor.starts else None

    @contextmanager
    def _timed(self) -> Iterator[None]:
        begin = thread_time()
        try:
            yield
        finally:
            self.cpu_seconds += thread_time() - begin


def _summary(unit: int) -> UnitSummary:
    return UnitSummary(
        unit=unit,
        candidates=64,
        judged=64,
        kept=32,
        rejected=32,
        failed=0,
        compute_seconds=1.0,
        commit=Commit.MINE,
    )
