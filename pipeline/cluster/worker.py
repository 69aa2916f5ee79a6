"""The worker: owns one device and turns unit numbers into committed units.

It does not know Ray; the driver makes an actor of it. Two units are in flight at a time: while one
is uploaded, the next computes. All computing happens on one thread of its own, because torch's
thread count is a property of the thread that computes.
"""

import socket
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic, perf_counter

import torch

from pipeline.cluster.heartbeat import Heartbeat
from pipeline.cluster.heartbeat_denoiser import HeartbeatDenoiser
from pipeline.cluster.summary import UnitSummary
from pipeline.cluster.work import Work
from pipeline.config.sections import Config
from pipeline.determinism import be_deterministic
from pipeline.errors import DeviceError, DeviceMemoryError, ModelError, RetryableStoreError
from pipeline.fingerprint import Fingerprint, fingerprint
from pipeline.identity import sha256
from pipeline.models.denoiser import Denoiser
from pipeline.models.load import default_device, load_denoiser, load_rewards
from pipeline.models.model_settings import model_digests
from pipeline.models.reward import Reward
from pipeline.models.rewards.identity import reward_digest
from pipeline.plan import Plan
from pipeline.records import SCHEMA_VERSION, Status
from pipeline.stages.build_spec import BuildSpec
from pipeline.stages.propose import Proposer
from pipeline.stages.proposers.files import check_proposers, load_proposers
from pipeline.stages.unit import ProducedUnit, produce_unit
from pipeline.storage import layout
from pipeline.storage.open import open_store
from pipeline.storage.plans import read_plan, read_prompt_table
from pipeline.storage.receipts import Commit, Receipt, commit_unit

_COMMIT_PATIENCE_S = 300.0
"""For how long a commit is begun again after the store's own retries are used up."""

_COMMIT_PAUSE_S = 1.0


@dataclass(frozen=True, kw_only=True)
class _Models:
    denoiser: Denoiser
    rewards: Mapping[str, Reward]
    proposers: Mapping[str, Proposer]
    """Those that come from files, by name."""
    fingerprint: Fingerprint


class UnitWorker:
    """Computes and commits units of one plan.

    ``heartbeat`` shows that it goes on, and lets it be told to leave.
    """

    def __init__(self, url: str, plan_id: str, config: Config) -> None:
        self._config = config
        self._store = open_store(url)
        self._plan = read_plan(self._store, plan_id)
        self._prompts = read_prompt_table(self._store, plan_id)
        self._recipe = BuildSpec.of(self._plan)
        self._compute = ThreadPoolExecutor(max_workers=1, initializer=be_deterministic)
        self._models: _Models | None = None
        self.heartbeat = Heartbeat()

    def set_up(self) -> Fingerprint:
        """Load the models, once. Raises ``ModelError`` if they are not those of the plan."""
        if self._models is None:
            self._models = self._compute.submit(self._load).result()
        return self._models.fingerprint

    def run(self, work: Work) -> UnitSummary | None:
        """Compute a unit and commit it; None for a probe, which is computed and thrown away.

        Raises ``WorkerLeavingError`` if it is told to leave before all is computed, and
        ``DeviceError`` for a fault after which this worker should not go on.
        """
        assert self._models is not None, "set_up comes first"
        models = self._models
        started = datetime.now(UTC)
        produced, seconds = self._compute.submit(self._produce, work, models).result()
        if work.probe is not None:
            return None
        receipt = self._receipt(work, produced, models, started, seconds)
        commit = self._commit(receipt, produced.data)
        return UnitSummary(
            unit=work.unit,
            candidates=len(receipt.outcomes),
            kept=receipt.count(Status.KEPT),
            rejected=receipt.count(Status.REJECTED),
            failed=receipt.count(Status.FAILED),
            compute_seconds=seconds,
            commit=commit,
        )

    def _commit(self, receipt: Receipt, data: bytes) -> Commit:
        """Commit a unit, also through a store's bad minutes: to compute it again costs more."""
        begin = monotonic()
        while True:
            try:
                return commit_unit(self._store, receipt, data)
            except RetryableStoreError:
                if self.heartbeat.leaving or monotonic() - begin > _COMMIT_PATIENCE_S:
                    raise
            self.heartbeat.rest(_COMMIT_PAUSE_S)

    def _load(self) -> _Models:
        check_models(self._config, self._plan)
        device = default_device()
        with _device_faults(device, self._recipe.batch_size):
            denoiser = load_denoiser(self._config.model, device, self._config.cluster.cpu_offload)
            return _Models(
                denoiser=HeartbeatDenoiser(denoiser, self.heartbeat),
                rewards=load_rewards(self._config.rewards, device),
                proposers=load_proposers(self._config, denoiser),
                fingerprint=fingerprint(device),
            )

    def _produce(self, work: Work, models: _Models) -> tuple[ProducedUnit, float]:
        self.heartbeat.tick()
        begin = perf_counter()
        positions = self._plan.unit_range(work.unit)
        candidates = list(self._prompts.candidates(self._plan, positions))
        skipped = _gaps(work, len(candidates))
        with _device_faults(models.denoiser.device, self._recipe.batch_size):
            produced = produce_unit(
                candidates, models.denoiser, models.rewards, self._recipe, skipped, models.proposers
            )
        return produced, perf_counter() - begin

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
            schema_version=SCHEMA_VERSION,
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
    """Turns a GPU's errors into ours, which say what to do, and tell the driver what they are."""
    where = f"{device} on {socket.gethostname()}"
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise DeviceMemoryError(
            f"the memory of {where} does not hold the models and batches of {batch_size} "
            "candidates: lower [units] batch_size, which makes another plan, or give a worker more "
            f"of a GPU ([cluster] gpus_per_worker), or take a larger one. {error}"
        ) from error
    except torch.AcceleratorError as error:
        raise DeviceError(f"{where} failed: {error}") from error


def _gaps(work: Work, size: int) -> dict[int, str]:
    """Positions that are not to be computed, each with the reason for its outcome."""
    skipped = {position: fault.reason for position, fault in work.failing_candidates.items()}
    if work.probe is not None:
        skipped |= {row: "error:untried" for row in range(size) if row not in work.probe}
    return skipped


def check_models(config: Config, plan: Plan) -> None:
    """Refuse model files that are not, byte for byte, those that the plan was made with.

    The plan is made on one machine and computed on others. Raises ``ModelError``, and
    ``EntryPointError`` for code of the user's own that is not there.
    """
    model = plan.settings["model"]
    _refuse_other_files(str(config.model), model | model_digests(config.model), model)
    for reward, settings in zip(config.rewards, plan.settings["rewards"], strict=True):
        _refuse_other_files(reward.files, reward_digest(reward), settings["digest"])
    check_proposers(config, plan)


def _refuse_other_files(path: str, found: object, expected: object) -> None:
    if found != expected:
        raise ModelError(
            f"{path}: its files on {socket.gethostname()} are not those of the plan; "
            "put the same model on every machine"
        )
