"""Every call on the store, of all processes, numbered; and the fault that one of them meets."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, TypeVar

from botocore.exceptions import ClientError

from pipeline.errors import StoreError
from tests.faults.simulated.scheduler import Scheduler

T = TypeVar("T")


class Fault(StrEnum):
    """What can happen at a call."""

    CRASH_BEFORE = "crash-before"
    """The process ends; the store never hears of the call."""
    CRASH_AFTER = "crash-after"
    """The process ends after the call has taken effect."""
    BLACKOUT_BEFORE = "blackout-before"
    """Every process ends."""
    BLACKOUT_AFTER = "blackout-after"
    """Every process ends after the call has taken effect."""
    REPLY_LOST = "reply-lost"
    """The call takes effect, and its caller is told that it failed."""
    OWN_WRITE_REFUSED = "own-write-refused"
    """The call takes effect, its reply is lost, and the client's retry is answered with 412."""
    CONFLICT = "409"
    REFUSED = "412"
    BUSY = "503"
    SLOW_BEFORE = "slow-before"
    """The process stands still until all others have ended and the collector was there twice."""
    SLOW_AFTER = "slow-after"
    """The same after the call has taken effect, before its caller hears of it."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call on the store."""

    process: str
    method: str
    key: str

    def __str__(self) -> str:
        return f"{self.process}: {self.method} {self.key}"


class Caller(Protocol):
    """Who decides what becomes of a call."""

    def make(self, method: str, key: str, effect: Callable[[], T]) -> T:
        """Do what the call does, sooner or later, or let it fail."""
        ...


class Failing(Protocol):
    """What a fault looks like to a caller, which depends on what is called."""

    def __call__(self, fault: Fault, method: str, key: str) -> Any:
        """Raise the fault's error, or return what the call returns."""
        ...


class Calls:
    """Numbers the calls from 1; lets the one with the number ``at`` meet ``fault``.

    Every call is a point at which any other process may go on first. ``on_stall`` is run whenever
    a stalled process begins and ends to stand still.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        *,
        failing: Failing,
        fault: Fault | None = None,
        at: int = 0,
        on_stall: Callable[[], None],
    ) -> None:
        self.log: list[Call] = []
        self.struck: str | None = None
        """The process that met the fault."""
        self._scheduler = scheduler
        self._failing = failing
        self._fault = fault
        self._at = at
        self._on_stall = on_stall

    def make(self, method: str, key: str, effect: Callable[[], T]) -> T:
        """Call the store: wait for the turn, then meet the fault or take effect."""
        self._scheduler.yield_turn()
        process = self._scheduler.current()
        self.log.append(Call(process=process.name, method=method, key=key))
        if self._fault is None or len(self.log) != self._at:
            return effect()
        self.struck = process.name
        return self._meet(self._fault, method, key, effect)

    def _meet(self, fault: Fault, method: str, key: str, effect: Callable[[], T]) -> T:
        if fault in _AFTER:
            # Whatever the call came to, its caller will not hear of it.
            with suppress(StoreError, ClientError):
                effect()
        if fault in (Fault.CRASH_BEFORE, Fault.CRASH_AFTER):
            self._scheduler.crash(self._scheduler.current())
        if fault in (Fault.BLACKOUT_BEFORE, Fault.BLACKOUT_AFTER):
            self._scheduler.crash_all()
        if fault is Fault.SLOW_BEFORE:
            self._stall()
            return effect()
        if fault is Fault.SLOW_AFTER:
            try:
                return effect()
            finally:
                self._stall()
        answer: T = self._failing(fault, method, key)
        return answer

    def _stall(self) -> None:
        self._on_stall()
        self._scheduler.stall()
        self._on_stall()


_AFTER = {Fault.CRASH_AFTER, Fault.BLACKOUT_AFTER, Fault.REPLY_LOST, Fault.OWN_WRITE_REFUSED}
