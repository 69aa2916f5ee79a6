"""A real worker in this process, without Ray: its commits and its errors."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pipeline.cluster.messages import Fault, Work
from pipeline.cluster.worker import UnitWorker, _device_faults
from pipeline.core.errors import (
    DeviceError,
    DeviceMemory,
    DeviceMemoryError,
    RetryableStoreError,
    WorkerLeavingError,
)
from pipeline.core.records import Status
from pipeline.diffusion.denoiser import Conditioning
from pipeline.storage.open import open_store
from pipeline.storage.plans import write_plan
from pipeline.storage.receipts import Commit, Receipt, read_receipt
from pipeline.workflows.plan import make_plan
from tests.sealed import write_config
from tests.stages.broken_models import WrappedDenoiser

FAULT = Fault(kind="ArithmeticError", message="Traceback of host gpu-7\nArithmeticError: 1/0")


@pytest.fixture
def worker(tmp_path: Path) -> UnitWorker:
    """A worker with loaded models and a separate store."""
    config = write_config(tmp_path)
    plan, prompts = make_plan(config)
    store = open_store(str(tmp_path / "out"))
    write_plan(store, plan, prompts)
    made = UnitWorker(store.url, plan.plan_id, config)
    made.set_up()
    return made


def _receipt(worker: UnitWorker, unit: int) -> Receipt:
    return read_receipt(worker._store, worker._plan.plan_id, unit)


def test_worker_failing_candidates_are_in_the_receipt_and_change_no_other(
    worker: UnitWorker, tmp_path: Path
) -> None:
    assert worker.run(Work(unit=1)) is not None
    complete = _receipt(worker, 1)
    (tmp_path / "out" / "receipts" / complete.plan_id / "00000001.json").unlink()

    summary = worker.run(Work(unit=1, failing_candidates={3: FAULT}))
    assert summary is not None
    assert summary.failed == 1
    receipt = _receipt(worker, 1)
    left_out = receipt.outcomes[3]
    assert (left_out.status, left_out.reason) == (Status.FAILED, "error:ArithmeticError")
    assert receipt.errors == {left_out.candidate: FAULT.message}
    others = [outcome for outcome in receipt.outcomes if outcome is not left_out]
    assert others == [*complete.outcomes[:3], *complete.outcomes[4:]]


def test_worker_probe_computes_and_commits_nothing(worker: UnitWorker) -> None:
    before = worker.heartbeat.count
    assert worker.run(Work(unit=0, probe=(0, 1))) is None
    assert worker.heartbeat.count > before
    assert list(worker._store.list("units/")) == list(worker._store.list("receipts/")) == []


def test_worker_asked_to_leave_discards_its_unit_at_the_next_step(worker: UnitWorker) -> None:
    models = worker._models
    assert models is not None

    class AsksToLeave(WrappedDenoiser):
        def predict(self, latents: Tensor, timestep: float, conditioning: Conditioning) -> Tensor:
            worker.heartbeat.leave()
            return super().predict(latents, timestep, conditioning)

    leaving = AsksToLeave(models.denoiser)
    worker._models = replace(models, denoiser=leaving)
    with pytest.raises(WorkerLeavingError):
        worker.run(Work(unit=0))
    with pytest.raises(WorkerLeavingError):
        worker.run(Work(unit=1))
    assert leaving.rows_predicted == worker._spec.batch_size, "one step, and no other"
    assert list(worker._store.list("units/")) == []


def test_worker_commits_through_a_store_outage_without_computing_again(
    worker: UnitWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, refusals = worker._store.put_if_absent, iter(range(2))

    def put_if_absent(key: str, data: bytes) -> bool:
        if next(refusals, None) is not None:
            raise RetryableStoreError("503")
        return put(key, data)

    monkeypatch.setattr(worker._store, "put_if_absent", put_if_absent)
    models = worker._models
    assert models is not None
    watched = WrappedDenoiser(models.denoiser)
    worker._models = replace(models, denoiser=watched)
    summary = worker.run(Work(unit=0))
    assert summary is not None
    assert (summary.commit, next(refusals, None)) == (Commit.MINE, None)
    assert len(watched.encoded) == len(set(watched.encoded)), "computed once"


def test_worker_computes_nothing_for_a_unit_that_another_build_has_done(
    worker: UnitWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = worker.run(Work(unit=0))
    before = worker.heartbeat.count
    again = worker.run(Work(unit=0))
    assert first is not None
    assert again == replace(
        first,
        compute_seconds=0.0,
        forward_evaluations=0,
        stage_seconds={},
        commit=Commit.EARLIER,
    )
    assert worker.heartbeat.count == before, "not a step"

    def unavailable(*arguments: object) -> bytes:
        monkeypatch.undo()  # for the commit, which reads the receipt again
        raise RetryableStoreError("503")

    monkeypatch.setattr(worker._store, "get", unavailable)
    computed = worker.run(Work(unit=0))
    assert computed is not None
    assert computed.commit is Commit.SAME, "it is computed rather than failed by an outage"


@pytest.mark.parametrize(
    ("raised", "expected", "message"),
    [
        (torch.OutOfMemoryError, DeviceMemoryError, r"lower \[units\] batch_size"),
        (torch.AcceleratorError, DeviceError, "failed: CUDA error: an illegal memory access"),
    ],
)
def test_worker_converts_gpu_errors(
    worker: UnitWorker,
    raised: Callable[[str], Exception],
    expected: type[DeviceError],
    message: str,
) -> None:
    models = worker._models
    assert models is not None

    class Fails(WrappedDenoiser):
        def decode(self, latents: Tensor) -> Tensor:
            raise raised("CUDA error: an illegal memory access was encountered")

    worker._models = replace(models, denoiser=Fails(models.denoiser))
    with pytest.raises(expected, match=message):
        worker.run(Work(unit=0))


def test_worker_reports_the_memory_of_a_gpu_and_not_of_a_cpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1, 80))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 70)
    for name, expected in (
        ("cpu", None),
        ("cuda", DeviceMemory(total=80, free=1, allocated=70)),
    ):
        with pytest.raises(DeviceMemoryError) as caught, _device_faults(torch.device(name), 4):
            raise torch.OutOfMemoryError("CUDA out of memory")
        assert caught.value.memory == expected
