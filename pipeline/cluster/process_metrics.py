"""Metrics of every process of a build: requests to the store and memory."""

from collections.abc import Iterator

import psutil

from pipeline.cluster import metrics
from pipeline.cluster.metrics_publisher import Sample
from pipeline.storage.s3_requests import Result, request_counts


def process_samples(process: str) -> Iterator[Sample]:
    """Yield the series of this process. ``process`` is ``driver`` or ``worker``."""
    memory = psutil.Process().memory_info().rss
    yield Sample(metric=metrics.PROCESS_MEMORY, value=memory, tags={"process": process})
    results, retries = request_counts()
    # A store in a folder makes no requests, and its series would only be in the way.
    if results:
        for result in Result:
            tags = {"result": result.value}
            yield Sample(metric=metrics.STORE_REQUESTS, value=results.get(result, 0), tags=tags)
        yield Sample(metric=metrics.STORE_RETRIES, value=retries)
