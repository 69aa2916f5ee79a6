"""Faults at the level of ``ObjectStore``: every call is numbered, and one meets a fault."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, TypeVar

from botocore.exceptions import ClientError

from pipeline.core.errors import PermanentStoreError, RetryableStoreError, StoreError
from pipeline.storage.object_store import MAX_OBJECT_BYTES, ObjectInfo, ObjectStore
from tests.faults.simulated.scheduler import Scheduler

T = TypeVar("T")


class Fault(StrEnum):
    """Kinds of faults."""

    CRASH_BEFORE = "crash-before"
    """The process ends before the call reaches the store."""
    CRASH_AFTER = "crash-after"
    """The process ends after the call has taken effect."""
    BLACKOUT_BEFORE = "blackout-before"
    """Every process ends."""
    BLACKOUT_AFTER = "blackout-after"
    """Every process ends after the call has taken effect."""
    REPLY_LOST = "reply-lost"
    """The call takes effect, and its caller receives an error."""
    OWN_WRITE_REFUSED = "own-write-refused"
    """The call takes effect, its reply is lost, and the client's retry is answered with 412."""
    CONFLICT = "409"
    REFUSED = "412"
    BUSY = "503"
    SLOW_BEFORE = "slow-before"
    """The process stalls until all others have ended, with a collection before and after."""
    SLOW_AFTER = "slow-after"
    """The same, after the call has taken effect and before it returns."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call on the store."""

    process: str
    method: str
    key: str

    def __str__(self) -> str:
        return f"{self.process}: {self.method} {self.key}"


class Caller(Protocol):
    """Interface through which a store makes its calls."""

    def make(self, method: str, key: str, effect: Callable[[], T]) -> T:
        """Run ``effect`` now or later, or fail."""
        ...


class Failing(Protocol):
    """Function that turns a fault into an error or a return value."""

    def __call__(self, fault: Fault, method: str, key: str) -> Any:
        """Raise the error of the fault, or return the result of the call."""
        ...


class Calls:
    """Calls of all processes, numbered from 1. The call with the number ``at`` meets ``fault``.

    Before every call the scheduler may switch to another process. ``on_stall`` runs when a process
    begins to stall and when it continues.
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
        """Name of the process that met the fault."""
        self._scheduler = scheduler
        self._failing = failing
        self._fault = fault
        self._at = at
        self._on_stall = on_stall

    def make(self, method: str, key: str, effect: Callable[[], T]) -> T:
        """Wait for the turn of the process, then run ``effect`` or inject the fault."""
        self._scheduler.yield_turn()
        process = self._scheduler.current()
        self.log.append(Call(process=process.name, method=method, key=key))
        if self._fault is None or len(self.log) != self._at:
            return effect()
        self.struck = process.name
        return self._meet(self._fault, method, key, effect)

    def _meet(self, fault: Fault, method: str, key: str, effect: Callable[[], T]) -> T:
        if fault in _AFTER:
            # The caller receives neither the result nor the error of the call.
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


STORE_FAULTS = (
    Fault.CRASH_BEFORE,
    Fault.CRASH_AFTER,
    Fault.BLACKOUT_BEFORE,
    Fault.BLACKOUT_AFTER,
    Fault.REPLY_LOST,
    Fault.REFUSED,
    Fault.BUSY,  # and 409: above the store's own retries they are one error
    Fault.SLOW_BEFORE,
    Fault.SLOW_AFTER,
)


class FaultyStore:
    """An ``ObjectStore`` that makes every call through ``calls``."""

    parallel_requests = 1

    def __init__(self, store: ObjectStore, calls: Caller) -> None:
        self.url = store.url
        self._store = store
        self._calls = calls

    def get(self, key: str, max_bytes: int = MAX_OBJECT_BYTES) -> bytes:
        return self._calls.make("get", key, lambda: self._store.get(key, max_bytes))

    def get_range(self, key: str, start: int, length: int) -> bytes:
        return self._calls.make("get_range", key, lambda: self._store.get_range(key, start, length))

    def get_versioned(self, key: str) -> tuple[bytes, str]:
        return self._calls.make("get_versioned", key, lambda: self._store.get_versioned(key))

    def head(self, key: str) -> ObjectInfo | None:
        return self._calls.make("head", key, lambda: self._store.head(key))

    def put(self, key: str, data: bytes) -> None:
        self._calls.make("put", key, lambda: self._store.put(key, data))

    def put_if_absent(self, key: str, data: bytes) -> bool:
        return self._calls.make("put_if_absent", key, lambda: self._store.put_if_absent(key, data))

    def put_file_if_absent(self, key: str, path: Path) -> bool:
        return self._calls.make(
            "put_file_if_absent", key, lambda: self._store.put_file_if_absent(key, path)
        )

    def put_if_version(self, key: str, data: bytes, version: str) -> bool:
        return self._calls.make(
            "put_if_version", key, lambda: self._store.put_if_version(key, data, version)
        )

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return iter(self._calls.make("list", prefix, lambda: [*self._store.list(prefix)]))

    def delete(self, key: str) -> None:
        self._calls.make("delete", key, lambda: self._store.delete(key))


def failing_store(fault: Fault, method: str, key: str) -> Any:
    """Raise the error of ``S3Store`` for a fault that outlasts its retries."""
    if fault is Fault.REFUSED:
        if method == "put_if_version":
            return False  # as if the object had changed in between
        if not method.endswith("if_absent"):
            raise PermanentStoreError(f"cannot {method} {key}: PreconditionFailed (412)")
    raise RetryableStoreError(f"cannot {method} {key}: {fault}")
