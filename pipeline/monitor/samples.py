"""Current values of all metrics, from the counts of the driver, a worker and a process."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from time import monotonic

import psutil
import torch

from pipeline.config.sections import Config
from pipeline.core.records import Status
from pipeline.monitor import metrics
from pipeline.monitor.activity import WorkerActivity
from pipeline.monitor.metrics import Metric
from pipeline.monitor.progress import BuildProgress
from pipeline.monitor.unit_summary import GainSums
from pipeline.storage.s3_requests import Result, request_counts

_WORKER_STATES = ("waiting", "loading", "ready", "leaving")

_REASONS = (
    "died",
    "hung",
    "machine_lost",
    "unreachable",
    "device_error",
    "failed_start",
    "left",
)
"""Reasons for which workers are replaced."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Value of one series: the current value of a gauge, or the total of a counter so far."""

    metric: Metric
    value: float
    tags: Mapping[str, str] = field(default_factory=dict)
    """Labels except ``plan``."""


def driver_samples(progress: BuildProgress, config: Config) -> Iterator[Sample]:
    """Yield the current value of each series of the driver."""
    yield from _units(progress)
    yield from _workers(progress)
    yield from _results(progress)
    for reward in config.rewards:
        role = "select" if reward.select else "judge"
        for status in (Status.KEPT, Status.REJECTED):
            tags = {"reward": reward.name, "role": role, "status": status.value}
            sums = progress.gains.get((reward.name, status), GainSums())
            yield from _gains(sums, tags)
    gpu_seconds = progress.worker_seconds * config.cluster.gpus_per_worker
    yield Sample(metric=metrics.GPU_SECONDS, value=gpu_seconds)
    if (price := config.cluster.price_per_gpu_hour) is not None:
        yield Sample(metric=metrics.COST, value=gpu_seconds / 3600 * price)
    yield from process_samples("driver")


def _units(progress: BuildProgress) -> Iterator[Sample]:
    # Read once, so that the states add up although the driver goes on.
    done, running, retries = progress.done, progress.running, progress.retries
    if not progress.computing:
        running = retries = 0
    states = {
        "done": done,
        "running": running,
        "retry": retries,
        "waiting": max(progress.total - done - running - retries, 0),
    }
    for state, count in states.items():
        yield Sample(metric=metrics.UNITS, value=count, tags={"state": state})
    if progress.computing:
        now, moved = monotonic(), progress.progressed_at
        yield Sample(metric=metrics.SECONDS_WITHOUT_COMMIT, value=now - progress.last_commit)
        stall = 0.0 if moved is None else now - moved
        yield Sample(metric=metrics.WORKER_STALL_SECONDS, value=stall)


def _workers(progress: BuildProgress) -> Iterator[Sample]:
    workers = progress.workers if progress.computing else {}
    for state in _WORKER_STATES:
        count = workers.get(state, 0)
        yield Sample(metric=metrics.WORKERS, value=count, tags={"state": state})
    for reason in _REASONS:
        count = progress.replaced[reason]
        yield Sample(metric=metrics.REPLACED_WORKERS, value=count, tags={"reason": reason})


def _results(progress: BuildProgress) -> Iterator[Sample]:
    kept = {(Status.KEPT, ""): 0}
    # Copied at once, because the driver adds new reasons while this thread reads.
    for (status, reason), count in {**kept, **progress.candidates}.items():
        tags = {"status": status.value, "reason": reason}
        yield Sample(metric=metrics.CANDIDATES, value=count, tags=tags)
    for fault, count in {"worker_died": 0, **progress.failed_attempts}.items():
        yield Sample(metric=metrics.FAILED_ATTEMPTS, value=count, tags={"fault": fault})
    yield Sample(metric=metrics.FORWARD_EVALUATIONS, value=progress.forward_evaluations)
    yield Sample(metric=metrics.DISAGREEMENTS, value=progress.disagreements)
    yield Sample(metric=metrics.BISECTIONS, value=progress.bisections)
    yield Sample(metric=metrics.LATE_UNITS, value=progress.late)


def _gains(sums: GainSums, tags: dict[str, str]) -> Iterator[Sample]:
    yield Sample(metric=metrics.REWARD_SCORED, value=sums.scored, tags=tags)
    yield Sample(metric=metrics.REWARD_WINS, value=sums.wins, tags=tags)
    yield Sample(metric=metrics.REWARD_GAIN, value=sums.gain, tags=tags)
    yield Sample(metric=metrics.REWARD_LOSS, value=sums.loss, tags=tags)
    yield Sample(metric=metrics.REWARD_GAIN_SQUARES, value=sums.squares, tags=tags)


def worker_samples(
    activity: WorkerActivity, steps: int, device: torch.device | None
) -> Iterator[Sample]:
    """Yield the current value of each series of a worker.

    ``steps`` counts its steps, and ``device`` is None until its models are loaded.
    """
    yield Sample(metric=metrics.WORKER_STEPS, value=steps)
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
