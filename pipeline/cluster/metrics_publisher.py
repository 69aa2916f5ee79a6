"""Publisher of metrics: reads plain numbers every second and records them in Ray.

The code that counts does not know Ray's metrics. It counts in plain attributes, and a function
turns them into samples. Nothing waits for Ray, its metrics agent, or Prometheus: a record changes
a number in this process, and Ray sends it every 10 s if it can.
"""

import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from ray.util import metrics as ray_metrics

from pipeline.monitor.metrics import METRICS, Kind, Metric
from pipeline.monitor.samples import Sample

_INTERVAL_S = 1.0
"""Seconds between two readings. Ray drops a gauge that is not set again before its next report."""

_CLOSE_S = 5.0
"""Seconds that the end of a build waits for its last metrics."""

_ZERO = 5e-324
"""Smallest positive float. Ray's counters reject 0, and Prometheus does not count the increase of a
series that appears with its first event. Added to a number that is not tiny, it changes nothing."""


class MetricsPublisher:
    """Context manager that publishes the samples of ``read`` from a thread.

    Ray must be connected. ``read`` is called from the thread.
    """

    def __init__(self, plan_id: str, read: Callable[[], Iterable[Sample]]) -> None:
        self._plan_id = plan_id
        self._read = read
        self._instruments = {metric.name: _instrument(metric) for metric in METRICS}
        self._published: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        """Totals of the counters at the last reading."""
        self._stop = threading.Event()
        # A daemon, because a process that ends must not wait for it.
        self._thread = threading.Thread(target=self._run, name="npd-metrics", daemon=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def start(self) -> None:
        """Publish now and every second from now on."""
        self._thread.start()

    def close(self) -> None:
        """Publish a last time and stop. Waits for a limited time."""
        self._stop.set()
        self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        while True:
            stopping = self._stop.is_set()
            self.publish()
            if stopping:
                return
            self._stop.wait(_INTERVAL_S)

    def publish(self) -> None:
        """Read and record all samples once."""
        for sample in self._read():
            self._publish(sample)

    def _publish(self, sample: Sample) -> None:
        tags = {"plan": self._plan_id, **sample.tags}
        instrument = self._instruments[sample.metric.name]
        if isinstance(instrument, ray_metrics.Gauge):
            instrument.set(sample.value, tags)
            return
        series = (sample.metric.name, frozenset(tags.items()))
        before = self._published.get(series)
        increase = _ZERO if before is None and sample.value == 0 else sample.value - (before or 0)
        if increase > 0:
            instrument.inc(increase, tags)
        self._published[series] = sample.value


def _instrument(metric: Metric) -> ray_metrics.Gauge | ray_metrics.Counter:
    kind = ray_metrics.Gauge if metric.kind is Kind.GAUGE else ray_metrics.Counter
    return kind(metric.name, f"{metric.description} ({metric.unit}).", metric.tags)
