"""Monitor of a build: threads that show others that it is alive and what needs a person.

One thread writes a heartbeat to the store for ``npd status`` and the sums of each worker for pages,
another sends notifications. Nothing waits for them: a store or a server that does not answer delays
only its thread.
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

from pipeline.config.sections import ClusterConfig, Config
from pipeline.core.errors import BuildStoppedError, NPDError, StoreError
from pipeline.monitor.alarms import Alarms, Event
from pipeline.monitor.notify import notifier_of
from pipeline.monitor.progress import BuildProgress
from pipeline.storage.heartbeats import (
    INTERVAL_S,
    Heartbeat,
    Phase,
    delete_all,
    delete_ended,
    put_heartbeat,
    store_time,
)
from pipeline.storage.manifest import Funnel
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.worker_sums import RunSums, put_run_sums

logger = logging.getLogger(__name__)

_CHECK_S = 5.0
"""Seconds between two checks of the alarms."""

_CLOSE_S = 5.0
"""Seconds that the end of a build waits for its last heartbeat."""

_ERROR_CHARACTERS = 1000


class BuildMonitor:
    """Context manager around a build that writes heartbeats and sends notifications.

    A sealed build deletes the heartbeats of its plan. One that ends with an error leaves the error.
    """

    def __init__(
        self, store: ObjectStore, plan_id: str, config: Config, progress: BuildProgress
    ) -> None:
        self._store = store
        self._plan_id = plan_id
        self._build_id = uuid.uuid4().hex
        self._progress = progress
        self._price = _price(config.cluster)
        self._begin = monotonic()
        self._phase = Phase.COMPUTING
        self._error: str | None = None
        self._is_sealed = False
        self._units_summed = 0
        """Number of units in the sums that were last written."""
        self._warned: set[str] = set()
        self._ended = threading.Event()
        self._alarms = Alarms(config.notify)
        self._notifier = notifier_of(config.notify, plan_id, store.url)
        # Daemons, so that a store that does not answer cannot keep the process alive.
        self._heart = threading.Thread(target=self._beat, name="npd-heartbeat", daemon=True)
        self._watch = threading.Thread(target=self._check, name="npd-alarms", daemon=True)

    def __enter__(self) -> Self:
        self._heart.start()
        if self._notifier is not None:
            self._watch.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, BuildStoppedError | KeyboardInterrupt):
            self._phase = Phase.STOPPED
            self._send(Event(name="stopped", text="the build was stopped on request"))
        elif error is not None:
            self._phase = Phase.FAILED
            # Messages of other exceptions may hold anything, so only their type is shown.
            text = str(error) if isinstance(error, NPDError) else type(error).__name__
            self._error = text[:_ERROR_CHARACTERS]
            self._send(Event(name="failed", text=self._error))
        self._ended.set()
        self._heart.join(_CLOSE_S)
        if self._notifier is not None:
            self._notifier.close()

    def seal(self) -> None:
        """Report that the units are done and the data set is being sealed."""
        self._phase = Phase.SEALING

    def sealed_elsewhere(self) -> None:
        """Note that another run has sealed the data set, which sends the notification."""
        self._is_sealed = True

    def sealed(self, funnel: Funnel) -> None:
        """Report that this run has sealed the data set, with these counts."""
        self._is_sealed = True
        judged = funnel.num_judged
        text = f"{funnel.kept} of {judged} judged candidates are kept ({funnel.kept_rate:.1%})"
        if judged == funnel.candidates:
            text = f"{funnel.kept} of {judged} candidates are kept ({funnel.kept_rate:.1%})"
        numbers = {"candidates": funnel.candidates, "judged": judged, "kept": funnel.kept}
        self._send(Event(name="sealed", text=text, numbers=numbers))

    def _send(self, event: Event) -> None:
        if self._notifier is not None:
            self._notifier.send(event)

    def _check(self) -> None:
        while not self._ended.wait(_CHECK_S):
            for event in self._alarms.check(self._progress):
                self._send(event)

    def _beat(self) -> None:
        store, beats = self._store, "heartbeats"
        self._attempt(beats, lambda: delete_ended(store, self._plan_id, store_time(store)))
        while not self._ended.is_set():
            self._attempt(beats, lambda: put_heartbeat(store, self._heartbeat()))
            self._attempt("sums of workers", self._put_sums)
            self._ended.wait(INTERVAL_S)
        self._attempt(beats, self._finish)
        self._attempt("sums of workers", self._put_sums)

    def _finish(self) -> None:
        if self._is_sealed:
            delete_all(self._store, self._plan_id)
        else:
            put_heartbeat(self._store, self._heartbeat())

    def _put_sums(self) -> None:
        """Write the sums of each worker, unless nothing was committed since the last time."""
        # One call, because the driver adds workers meanwhile.
        workers = tuple(self._progress.by_worker.values())
        units = sum(each.units for each in workers)
        if units > self._units_summed:
            sums = RunSums(plan_id=self._plan_id, build_id=self._build_id, workers=workers)
            put_run_sums(self._store, sums)
            self._units_summed = units

    def _attempt(self, what: str, call: Callable[[], object]) -> None:
        try:
            call()
        except StoreError as error:
            # Once, because a build does not need them.
            if what not in self._warned:
                logger.warning("%s cannot be written: %s", what, error)
            self._warned.add(what)

    def _heartbeat(self) -> Heartbeat:
        now, workers = self._progress, self._progress.workers
        loading = self._phase is Phase.COMPUTING and not workers.get("ready")
        return Heartbeat(
            plan_id=self._plan_id,
            build_id=self._build_id,
            host=socket.gethostname()[:255],
            pid=os.getpid(),
            seconds=monotonic() - self._begin,
            phase=Phase.STARTING if loading else self._phase,
            workers=sum(workers.values()),
            workers_ready=workers.get("ready", 0),
            units_in_flight=now.running if now.computing else 0,
            failures_in_a_row=now.failures_in_a_row,
            price_per_hour=self._price,
            error=self._error,
        )


def _price(cluster: ClusterConfig) -> float | None:
    """Return the price of a worker per hour."""
    if cluster.price_per_gpu_hour is None:
        return None
    return cluster.price_per_gpu_hour * cluster.gpus_per_worker
