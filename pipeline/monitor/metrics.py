"""Declarations of all metrics. Ray exports them on every machine, with ``ray_`` before the name.

A counter is exported with ``_total`` after its name. Gains can be negative and a counter cannot, so
the sum of gains is two counters: improvements in ``npd_reward_gain``, deteriorations in
``npd_reward_loss``. A gauge of the sum could not be used in ``rate`` and would lose its value with
the driver.

``docs/monitoring.md`` has the table of ``METRICS``.
"""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """Type of a metric in Prometheus."""

    COUNTER = "counter"
    GAUGE = "gauge"


@dataclass(frozen=True, kw_only=True)
class Metric:
    """Declaration of a metric."""

    name: str
    """Name in Ray."""
    kind: Kind
    unit: str
    tags: tuple[str, ...]
    """Names of its labels, beside those that Ray adds."""
    description: str

    @property
    def exported_name(self) -> str:
        """Name in Prometheus."""
        return f"ray_{self.name}" + ("_total" if self.kind is Kind.COUNTER else "")


METRICS: list[Metric] = []
"""All metrics: those of the driver, of the workers, and of both."""


def _declare(kind: Kind, name: str, unit: str, tags: tuple[str, ...], description: str) -> Metric:
    metric = Metric(
        name=f"npd_{name}", kind=kind, unit=unit, tags=("plan", *tags), description=description
    )
    METRICS.append(metric)
    return metric


def _counter(name: str, unit: str, tags: tuple[str, ...], description: str) -> Metric:
    return _declare(Kind.COUNTER, name, unit, tags, description)


def _gauge(name: str, unit: str, tags: tuple[str, ...], description: str) -> Metric:
    return _declare(Kind.GAUGE, name, unit, tags, description)


# Of the driver.

UNITS = _gauge(
    "units",
    "units",
    ("state",),
    "Units of the plan: done (also by earlier runs), running on a worker, retry (failed, waiting "
    "for another attempt), waiting",
)
WORKERS = _gauge(
    "workers",
    "workers",
    ("state",),
    "Workers: waiting for resources, loading models, ready, leaving",
)
SECONDS_WITHOUT_COMMIT = _gauge(
    "seconds_without_commit",
    "seconds",
    (),
    "Time since the last unit was done, or since the start; only while units are computed",
)
WORKER_STALL_SECONDS = _gauge(
    "worker_stall_seconds",
    "seconds",
    (),
    "Longest time for which a worker with work has made no step; it is replaced at "
    "`[cluster] hang_seconds`",
)
CANDIDATES = _counter(
    "candidates",
    "candidates",
    ("status", "reason"),
    "Candidates of finished units, by outcome; the reason is empty for kept ones. All candidates "
    "that were not judged have the status `unjudged`",
)
REWARD_SCORED = _counter(
    "reward_scored",
    "candidates",
    ("reward", "role", "status"),
    "Candidates with a score of both images. The role is `select`, or `judge`: it selects nothing",
)
REWARD_WINS = _counter(
    "reward_wins",
    "candidates",
    ("reward", "role", "status"),
    "Candidates whose golden image scores higher than the source image",
)
REWARD_GAIN = _counter(
    "reward_gain",
    "scores",
    ("reward", "role", "status"),
    "Sum of golden minus source over candidates whose golden image scores higher",
)
REWARD_LOSS = _counter(
    "reward_loss",
    "scores",
    ("reward", "role", "status"),
    "Sum of source minus golden over candidates whose golden image scores lower",
)
REWARD_GAIN_SQUARES = _counter(
    "reward_gain_squares",
    "squared scores",
    ("reward", "role", "status"),
    "Sum of squared gains, for standard errors",
)
FORWARD_EVALUATIONS = _counter(
    "forward_evaluations",
    "evaluations",
    (),
    "Evaluations of the network, each of one latent, for finished units",
)
DISAGREEMENTS = _counter(
    "disagreements",
    "units",
    (),
    "Units whose second attempt gave another result than the first",
)
FAILED_ATTEMPTS = _counter(
    "failed_attempts",
    "attempts",
    ("fault",),
    "Failed attempts at a unit or at a part of it, by type of error",
)
REPLACED_WORKERS = _counter(
    "replaced_workers",
    "workers",
    ("reason",),
    "Replaced workers: died, hung, machine_lost, unreachable, device_error, failed_start, left "
    "(its machine was drained, or it received SIGTERM)",
)
BISECTIONS = _counter(
    "bisections",
    "units",
    (),
    "Units whose candidates were tried separately after repeated failures",
)
LATE_UNITS = _counter(
    "late_units",
    "units",
    (),
    "Late units that were also sent to a second worker",
)
GPU_SECONDS = _counter(
    "gpu_seconds",
    "GPU-seconds",
    (),
    "Time for which workers held GPUs, with loading and waiting: seconds times `gpus_per_worker`",
)
COST = _counter(
    "cost",
    "currency of the price",
    (),
    "GPU-hours times `[cluster] price_per_gpu_hour`; absent without a price",
)

# Of each worker. Ray adds `WorkerId` and `NodeAddress`.

WORKER_CANDIDATES = _counter(
    "worker_candidates",
    "candidates",
    ("status",),
    "Candidates that this worker has committed, by outcome",
)
WORKER_STEPS = _counter(
    "worker_steps",
    "steps",
    (),
    "Calls of the network, text encoder and decoder that this worker has started, each of a batch",
)
STAGE_SECONDS = _counter(
    "stage_seconds",
    "seconds",
    ("stage",),
    "Time of finished units by stage: encode, propose, sample, decode, judge, pack, upload. "
    "Uploads run while the next unit computes",
)
WORKER_IDLE_SECONDS = _counter(
    "worker_idle_seconds",
    "seconds",
    (),
    "Time for which a worker with loaded models had nothing to compute",
)
UPLOADS_PENDING = _gauge(
    "uploads_pending",
    "units",
    (),
    "Units that are computed and not yet committed",
)
UPLOAD_LAG_SECONDS = _gauge(
    "upload_lag_seconds",
    "seconds",
    (),
    "Age of the oldest unit that is computed and not yet committed; 0 without one",
)
COMMIT_RETRIES = _counter(
    "commit_retries",
    "commits",
    (),
    "Commits that were repeated because the store was unavailable",
)
GPU_MEMORY = _gauge(
    "gpu_memory_bytes",
    "bytes",
    ("kind",),
    "Memory of the worker's GPU: allocated by tensors, reserved by torch, peak allocated, total; "
    "absent on a CPU",
)

# Of the driver and of each worker.

STORE_REQUESTS = _counter(
    "store_requests",
    "requests",
    ("result",),
    "Requests to S3, each attempt counted: ok, refused (a condition or another 4xx), throttled "
    "(503 or 429), server_error (another 5xx), no_reply. Absent for a store in a folder",
)
STORE_RETRIES = _counter(
    "store_retries",
    "requests",
    (),
    "Requests to S3 that repeat a failed attempt",
)
PROCESS_MEMORY = _gauge(
    "process_memory_bytes",
    "bytes",
    ("process",),
    "Resident memory of the driver or of a worker",
)
