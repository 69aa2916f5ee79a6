"""Worker that computes units on one device and commits them.

The worker does not depend on Ray; ``WorkerActor`` makes it an actor. Two units are in flight: while
one is uploaded, the next one computes. All computation runs on one dedicated thread, because the
thread count of torch is a property of the thread that computes.
"""

import logging
import socket
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from time import monotonic, perf_counter

import torch

from pipeline.cluster.heartbeat import Heartbeat
from pipeline.cluster.heartbeat_denoiser import HeartbeatDenoiser
from pipeline.cluster.messages import Work
from pipeline.config.plan import Plan
from pipeline.config.sections import Config
from pipeline.core.determinism import be_deterministic
from pipeline.core.errors import (
    DeviceError,
    DeviceMemory,
    DeviceMemoryError,
    ModelError,
    ObjectNotFoundError,
    RetryableStoreError,
)
from pipeline.core.fingerprint import Fingerprint, fingerprint
from pipeline.core.identity import sha256
from pipeline.diffusion.denoiser import Denoiser
from pipeline.models.load import default_device, load_denoiser, load_rewards
from pipeline.models.model_identity import with_digests
from pipeline.models.resolved_models import ResolvedModels
from pipeline.models.reward import Reward
from pipeline.monitor.activity import WorkerActivity
from pipeline.monitor.samples import Sample, worker_samples
from pipeline.monitor.unit_summary import UnitSummary
from pipeline.stages.build_spec import BuildSpec
from pipeline.stages.judging_more import EarlierUnit
from pipeline.stages.propose import Proposer
from pipeline.stages.proposer_files import check_proposers, load_proposers
from pipeline.stages.stage_clock import Stage
from pipeline.stages.unit import ProducedUnit, produce_unit
from pipeline.storage import layout
from pipeline.storage.open import open_store
from pipeline.storage.plans import read_plan, read_prompt_table
from pipeline.storage.receipts import Commit, Receipt, commit_unit, read_pairs, read_receipt

logger = logging.getLogger(__name__)

_COMMIT_PATIENCE_S = 300.0
"""Seconds during which a commit is repeated, after the retries of the store are used up."""

_COMMIT_PAUSE_S = 1.0


@dataclass(frozen=True, kw_only=True)
class _Models:
    denoiser: Denoiser
    rewards: Mapping[str, Reward]
    proposers: Mapping[str, Proposer]
    """Maps names to the proposers that are loaded from files."""
    fingerprint: Fingerprint


class UnitWorker:
    """Computes and commits units of one plan.

    ``heartbeat`` counts its steps and accepts a request to leave. ``activity`` holds its counts.
    """

    def __init__(self, url: str, plan_id: str, config: Config) -> None:
        self._config = config
        self._store = open_store(url)
        self._plan = read_plan(self._store, plan_id)
        self._prompts = read_prompt_table(self._store, plan_id)
        self._spec = BuildSpec.of(self._plan)
        self._compute = ThreadPoolExecutor(max_workers=1, initializer=be_deterministic)
        self._models: _Models | None = None
        self.heartbeat = Heartbeat()
        self.activity = WorkerActivity()

    def samples(self) -> Iterator[Sample]:
        """Yield the current value of each of its metrics."""
        device = None if self._models is None else self._models.denoiser.device
        return worker_samples(self.activity, self.heartbeat.count, device)

    def set_up(self) -> Fingerprint:
        """Load the models once. Raise ``ModelError`` if they are not those of the plan."""
        if self._models is None:
            begin = perf_counter()
            self._models = self._compute.submit(self._load).result()
            logger.info("models loaded in %.1f s", perf_counter() - begin)
            self.activity.rest()
        return self._models.fingerprint

    def run(self, work: Work) -> UnitSummary | None:
        """Compute and commit a unit that is not done. A probe is computed, discarded, returns None.

        Raise ``WorkerLeavingError`` if asked to leave before the unit is computed, and
        ``DeviceError`` for a fault after which this process cannot be trusted.
        """
        assert self._models is not None, "set_up comes first"
        models = self._models
        if work.probe is None and (earlier := self._done_earlier(work.unit)) is not None:
            # Its outcomes count for the build, and its costs for the run that computed it.
            summary = UnitSummary.of(earlier, Commit.EARLIER)
            return replace(summary, compute_seconds=0.0, forward_evaluations=0)
        started = datetime.now(UTC)
        produced, seconds = self._compute.submit(self._produce, work, models).result()
        if work.probe is not None:
            return None
        # From here on the compute thread is free, so the next unit computes during this upload.
        receipt = self._receipt(work, produced, models, started, seconds)
        begin = monotonic()
        with self.activity.uploading():
            commit = self._commit(receipt, produced.data)
        stage_seconds = {**produced.stage_seconds, Stage.UPLOAD: monotonic() - begin}
        summary = replace(
            UnitSummary.of(receipt, commit),
            stage_seconds={stage.value: spent for stage, spent in stage_seconds.items()},
        )
        logger.info(
            "unit %d: %d of %d candidates kept, computed in %.1f s, committed: %s",
            work.unit,
            summary.kept,
            summary.candidates,
            seconds,
            commit,
            extra={"unit": work.unit, "attempt": work.attempt},
        )
        self.activity.add_seconds(stage_seconds)
        self.activity.add(summary)
        return summary

    def _done_earlier(self, unit: int) -> Receipt | None:
        """Return the receipt of a unit that another build of this plan has done, else None."""
        # Two builds of one plan may run: a retry beside an attempt that still lives, or a driver
        # that was suspended. Without this check they would compute every unit twice.
        try:
            return read_receipt(self._store, self._plan.plan_id, unit)
        except ObjectNotFoundError:
            return None
        except RetryableStoreError:
            return None  # The commit waits for the store, and finds such a receipt then.

    def _commit(self, receipt: Receipt, data: bytes) -> Commit:
        """Commit a unit, and repeat the commit while the store is unavailable."""
        # Computing the unit again would cost GPU time, while repeating a commit is harmless: the
        # data has the name of its content, and the receipt is put only if absent.
        begin, is_repeated = monotonic(), False
        while True:
            try:
                return commit_unit(self._store, receipt, data)
            except RetryableStoreError:
                if self.heartbeat.leaving or monotonic() - begin > _COMMIT_PATIENCE_S:
                    raise
            if not is_repeated:
                logger.warning(
                    "unit %d: the store is unavailable; the commit is repeated",
                    receipt.unit,
                    extra={"unit": receipt.unit},
                )
            is_repeated = True
            self.activity.commit_retries += 1
            self.heartbeat.rest(_COMMIT_PAUSE_S)

    def _load(self) -> _Models:
        # Located on this machine, not sent by the driver: its files may differ from the plan's.
        models = ResolvedModels(self._config)
        check_models(self._config, models, self._plan)
        device = default_device()
        with _device_faults(device, self._spec.batch_size):
            denoiser = load_denoiser(models.model, device, self._config.cluster.cpu_offload)
            return _Models(
                denoiser=HeartbeatDenoiser(denoiser, self.heartbeat),
                rewards=load_rewards(models.rewards, device),
                proposers=load_proposers(self._config, denoiser),
                fingerprint=fingerprint(device),
            )

    def _produce(self, work: Work, models: _Models) -> tuple[ProducedUnit, float]:
        self.heartbeat.tick()
        begin = perf_counter()
        positions = self._plan.unit_range(work.unit)
        candidates = list(self._prompts.candidates(self._plan, positions))
        skipped = _gaps(work, len(candidates))
        judged = self._plan.settings.judging.of
        earlier = None if judged is None else self._earlier_unit(judged, work.unit)
        with (
            self.activity.computing(),
            _device_faults(models.denoiser.device, self._spec.batch_size),
        ):
            produced = produce_unit(
                candidates,
                models.denoiser,
                models.rewards,
                self._spec,
                skipped,
                models.proposers,
                earlier,
            )
        return produced, perf_counter() - begin

    def _earlier_unit(self, plan_id: str, unit: int) -> EarlierUnit:
        """Read a unit of the plan of which this one judges more candidates."""
        receipt = read_receipt(self._store, plan_id, unit)
        pairs = read_pairs(self._store, receipt, self._plan)  # both have the same columns
        return EarlierUnit(outcomes=receipt.outcomes, pairs=pairs)

    def _receipt(
        self,
        work: Work,
        produced: ProducedUnit,
        models: _Models,
        started: datetime,
        seconds: float,
    ) -> Receipt:
        digest = sha256(produced.data)
        return Receipt(
            schema_version=self._plan.schema_version,
            plan_id=self._plan.plan_id,
            unit=work.unit,
            data_key=layout.unit_key(self._plan.plan_id, work.unit, digest),
            data_sha256=digest,
            data_bytes=len(produced.data),
            latent_shape=models.denoiser.latent_shape,
            outcomes=produced.outcomes,
            errors={
                produced.outcomes[position].candidate: fault.message
                for position, fault in work.failing_candidates.items()
            },
            forward_evaluations=produced.forward_evaluations,
            fingerprint=models.fingerprint,
            attempt_id=uuid.uuid4().hex,
            host=socket.gethostname(),
            started=started.isoformat(timespec="seconds"),
            compute_seconds=round(seconds, 3),
        )


@contextmanager
def _device_faults(device: torch.device, batch_size: int) -> Iterator[None]:
    """Convert errors of a GPU to ``DeviceError``, whose type the driver acts on."""
    where = f"{device} on {socket.gethostname()}"
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise DeviceMemoryError(
            f"the memory of {where} is too small for the models and batches of {batch_size} "
            "candidates: lower [units] batch_size, which changes the plan, give each worker more "
            f"of a GPU ([cluster] gpus_per_worker), or use a larger GPU. {error}",
            _memory(device),
        ) from error
    except torch.AcceleratorError as error:
        raise DeviceError(f"{where} failed: {error}") from error


def _memory(device: torch.device) -> DeviceMemory | None:
    """Return the memory of a device, or None for the CPU."""
    # The traceback of the error still holds the tensors of the batch, so they count as allocated.
    if device.type != "cuda":
        return None
    free, total = torch.cuda.mem_get_info(device)
    return DeviceMemory(total=total, free=free, allocated=torch.cuda.memory_allocated(device))


def _gaps(work: Work, size: int) -> dict[int, str]:
    """Map positions to skip to the reasons recorded in their outcomes."""
    skipped = {position: fault.reason for position, fault in work.failing_candidates.items()}
    if work.probe is not None:
        skipped |= {row: "error:untried" for row in range(size) if row not in work.probe}
    return skipped


def check_models(config: Config, models: ResolvedModels, plan: Plan) -> None:
    """Check that the model files on this machine are byte for byte those of the plan.

    A plan is made on one machine and computed on others. Raise ``ModelError`` for other files and
    ``EntryPointError`` for custom code that is missing.
    """
    model = plan.settings.model
    _refuse_other_files(str(config.model), with_digests(model, models.model), model)
    for reward, planned in zip(models.rewards, plan.settings.rewards, strict=True):
        _refuse_other_files(reward.config.files, reward.digest, planned.digest)
    check_proposers(config, plan)


def _refuse_other_files(path: str, found: object, expected: object) -> None:
    if found != expected:
        raise ModelError(
            f"{path}: its files on {socket.gethostname()} are not those of the plan; "
            "use the same model files on every machine"
        )
