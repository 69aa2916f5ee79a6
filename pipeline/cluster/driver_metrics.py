"""Metrics of the driver, from the progress of a build."""

from collections.abc import Iterator
from time import monotonic

from pipeline.cluster import metrics
from pipeline.cluster.messages import GainSums
from pipeline.cluster.metrics_publisher import Sample
from pipeline.cluster.process_metrics import process_samples
from pipeline.cluster.progress import BuildProgress
from pipeline.config.sections import Config
from pipeline.core.records import Status

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
