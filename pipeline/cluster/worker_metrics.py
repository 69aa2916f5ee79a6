"""Metrics of a worker, from its counts."""

from collections.abc import Iterator

import torch

from pipeline.cluster import metrics
from pipeline.cluster.metrics_publisher import Sample
from pipeline.cluster.process_metrics import process_samples
from pipeline.cluster.worker import UnitWorker


def worker_samples(worker: UnitWorker) -> Iterator[Sample]:
    """Yield the current value of each series of a worker."""
    activity = worker.activity
    yield Sample(metric=metrics.WORKER_STEPS, value=worker.heartbeat.count)
    for status, count in activity.candidates.items():
        tags = {"status": status.value}
        yield Sample(metric=metrics.WORKER_CANDIDATES, value=count, tags=tags)
    for stage, seconds in activity.stage_seconds.items():
        tags = {"stage": stage.value}
        yield Sample(metric=metrics.STAGE_SECONDS, value=seconds, tags=tags)
    yield Sample(metric=metrics.WORKER_IDLE_SECONDS, value=activity.idle_seconds)
    uploads, lag = activity.uploads
    yield Sample(metric=metrics.UPLOADS_PENDING, value=uploads)
    yield Sample(metric=metrics.UPLOAD_LAG_SECONDS, value=lag)
    yield Sample(metric=metrics.COMMIT_RETRIES, value=activity.commit_retries)
    device = worker.device
    # Only after the models are loaded: this thread must not be the first to use the GPU.
    if device is not None and device.type == "cuda":
        for kind, value in _gpu_memory(device).items():
            yield Sample(metric=metrics.GPU_MEMORY, value=value, tags={"kind": kind})
    yield from process_samples("worker")


def _gpu_memory(device: torch.device) -> dict[str, int]:
    return {
        "allocated": torch.cuda.memory_allocated(device),
        "reserved": torch.cuda.memory_reserved(device),
        "peak": torch.cuda.max_memory_allocated(device),
        "total": torch.cuda.get_device_properties(device).total_memory,
    }
