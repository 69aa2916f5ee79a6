"""Monitor of a build: a thread that shows other machines that the build is alive.

It writes a heartbeat to the store and reports what needs a person to ``Notifier``. Nothing waits
for it: a store or a server that does not answer delays only its thread.
"""

import logging
import os
import socket
import threading
import uuid
from collections.abc import Callable
from time import monotonic
from types import TracebackType
from typing import Self

from pipeline.cluster.driver import DriverSnapshot
from pipeline.core.errors import BuildStoppedError, NPDError, StoreError
from pipeline.storage.heartbeats import (
    INTERVAL_S,
    Heartbeat,
    Phase,
    delete_ended,
    put_heartbeat,
    store_time,
)
from pipeline.storage.layout import heartbeat_key
from pipeline.storage.object_store import ObjectStore

logger = logging.getLogger(__name__)

_CLOSE_S = 5.0
"""Seconds that the end of a build waits for its last heartbeat."""

_ERROR_CHARACTERS = 1000


class BuildMonitor:
    """Context manager around a build that writes its heartbeats.

    A sealed build deletes its heartbeat. One that ends with an error leaves the error in it.
    """

    def __init__(self, store: ObjectStore, plan_id: str) -> None:
        self._store = store
        self._plan_id = plan_id
        self._build_id = uuid.uuid4().hex
        self._begin = monotonic()
        self._snapshot: Callable[[], DriverSnapshot] = DriverSnapshot
        self._phase = Phase.STARTING
        self._error: str | None = None
        self._sealed = False
        self._warned = False
        self._ended = threading.Event()
        # A daemon, so that a store that does not answer cannot keep the process alive.
        self._thread = threading.Thread(target=self._run, name="npd-heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._sealed = error is None
        if isinstance(error, BuildStoppedError | KeyboardInterrupt):
            self._phase = Phase.STOPPED
        elif error is not None:
            self._phase = Phase.FAILED
            # Messages of other exceptions may hold anything, so only their type is stored.
            text = str(error) if isinstance(error, NPDError) else type(error).__name__
            self._error = text[:_ERROR_CHARACTERS]
        self._ended.set()
        self._thread.join(_CLOSE_S)

    def watch(self, snapshot: Callable[[], DriverSnapshot]) -> None:
        """Report the numbers of ``snapshot`` from now on. It is called from the thread."""
        self._snapshot = snapshot
        self._phase = Phase.COMPUTING

    def seal(self) -> None:
        """Report that the units are done and the data set is being sealed."""
        self._snapshot = DriverSnapshot
        self._phase = Phase.SEALING

    def _run(self) -> None:
        self._attempt(lambda: delete_ended(self._store, self._plan_id, store_time(self._store)))
        while not self._ended.is_set():
            self._attempt(lambda: put_heartbeat(self._store, self._heartbeat()))
            self._ended.wait(INTERVAL_S)
        self._attempt(self._finish)

    def _finish(self) -> None:
        if self._sealed:
            self._store.delete(heartbeat_key(self._plan_id, self._build_id))
        else:
            put_heartbeat(self._store, self._heartbeat())

    def _attempt(self, call: Callable[[], object]) -> None:
        try:
            call()
        except StoreError as error:
            # Once, because a build does not need its heartbeats.
            if not self._warned:
                logger.warning("heartbeats cannot be written: %s", error)
            self._warned = True

    def _heartbeat(self) -> Heartbeat:
        now = self._snapshot()
        loading = self._phase is Phase.COMPUTING and not now.workers_ready
        return Heartbeat(
            plan_id=self._plan_id,
            build_id=self._build_id,
            host=socket.gethostname()[:255],
            pid=os.getpid(),
            seconds=monotonic() - self._begin,
            phase=Phase.STARTING if loading else self._phase,
            workers=now.workers,
            workers_ready=now.workers_ready,
            units_in_flight=now.units_in_flight,
            failures_in_a_row=now.failures_in_a_row,
            error=self._error,
        )
