"""Counts of one worker, which it keeps up to date."""

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import monotonic

from pipeline.core.records import Status
from pipeline.monitor.unit_summary import UnitSummary
from pipeline.stages.stage_clock import Stage


class WorkerActivity:
    """Counts of a worker since its start. Threads of the worker write; others may read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._candidates = Counter(dict.fromkeys(Status, 0))
        self._stage_seconds = dict.fromkeys(Stage, 0.0)
        self._uploads: dict[object, float] = {}
        """Maps each running upload to its start."""
        self._idle_seconds = 0.0
        self._idle_since: float | None = None
        """Time since which there is nothing to compute; None while computing or loading."""
        self.commit_retries = 0
        """Number of commits that were repeated because the store was unavailable."""

    def rest(self) -> None:
        """Record that the models are loaded and there is nothing to compute yet."""
        with self._lock:
            self._idle_since = monotonic()

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Record that the computing thread is busy during a block."""
        with self._lock:
            self._idle_seconds = self._idle_until_now()
            self._idle_since = None
        try:
            yield
        finally:
            self.rest()

    @contextmanager
    def uploading(self) -> Iterator[None]:
        """Record an upload that runs during a block."""
        upload = object()
        with self._lock:
            self._uploads[upload] = monotonic()
        try:
            yield
        finally:
            with self._lock:
                del self._uploads[upload]

    def add_seconds(self, seconds: Mapping[Stage, float]) -> None:
        """Add the seconds of stages."""
        with self._lock:
            for stage, more in seconds.items():
                self._stage_seconds[stage] += more

    def add(self, summary: UnitSummary) -> None:
        """Add a unit that is committed."""
        with self._lock:
            self._candidates[Status.KEPT] += summary.kept
            self._candidates[Status.REJECTED] += summary.rejected
            self._candidates[Status.FAILED] += summary.failed
            self._candidates[Status.UNJUDGED] += summary.candidates - summary.judged

    @property
    def candidates(self) -> dict[Status, int]:
        """Number of committed candidates by status."""
        with self._lock:
            return dict(self._candidates)

    @property
    def stage_seconds(self) -> dict[Stage, float]:
        """Seconds of each stage, over finished units; 0 for a stage that did not happen yet."""
        with self._lock:
            return dict(self._stage_seconds)

    @property
    def idle_seconds(self) -> float:
        """Seconds without anything to compute, after the models were loaded."""
        with self._lock:
            return self._idle_until_now()

    @property
    def uploads(self) -> tuple[int, float]:
        """Number of running uploads, and the seconds since the start of the oldest one or 0."""
        with self._lock:
            oldest = min(self._uploads.values(), default=None)
            return len(self._uploads), 0.0 if oldest is None else monotonic() - oldest

    def _idle_until_now(self) -> float:
        since = self._idle_since
        return self._idle_seconds + (0.0 if since is None else monotonic() - since)
