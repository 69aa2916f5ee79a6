"""Decisions of ``FailureTracker`` after failures and probes."""

import pytest

from pipeline.cluster.failures import FailureTracker, exceeds_device
from pipeline.cluster.messages import Failure, Fault, Work
from pipeline.core.errors import (
    BuildError,
    DeviceMemory,
    DeviceMemoryError,
    ModelError,
    NPDError,
    PermanentStoreError,
    RetryableStoreError,
)

WORK = Work(unit=7)


def _failures(size: int = 4) -> FailureTracker:
    return FailureTracker(max_attempts=2, unit_size=lambda unit: size)


def _failure(error: NPDError | None = None, *, blamed: bool = True) -> Failure:
    fault = Fault(kind="ArithmeticError", message="Traceback\nArithmeticError: no solution")
    return Failure(fault=fault, error=error, blamed=blamed)


def test_failed_unit_is_tried_again_and_then_its_candidates_apart() -> None:
    failures = _failures()
    assert 7 not in failures
    assert failures.failed(WORK, _failure()) == WORK
    assert 7 in failures
    assert failures.failed(WORK, _failure()) == Work(unit=7, probe=())


def test_failure_without_blame_is_not_counted() -> None:
    failures = _failures()
    for _ in range(10):
        assert failures.failed(WORK, _failure(blamed=False)) == WORK
    assert 7 not in failures


def test_unit_lost_with_ten_machines_is_blamed() -> None:
    failures = _failures()
    for _ in range(11):
        assert failures.failed(WORK, _failure(blamed=False)) == WORK
    assert 7 in failures
    assert failures.failed(WORK, _failure(blamed=False)) == Work(unit=7, probe=())


def test_cleared_unit_starts_anew() -> None:
    failures = _failures()
    failures.failed(WORK, _failure())
    failures.clear(7)
    assert 7 not in failures
    assert failures.failed(WORK, _failure()) == WORK


@pytest.mark.parametrize("error", [ModelError("no such folder"), PermanentStoreError("no bucket")])
def test_user_error_is_raised_unchanged(error: NPDError) -> None:
    with pytest.raises(type(error)) as caught:
        _failures().failed(WORK, _failure(error))
    assert caught.value is error


@pytest.mark.parametrize(
    ("error", "max_attempts"),
    [(DeviceMemoryError("batch_size"), 5), (RetryableStoreError("503"), 2)],
)
def test_error_that_no_candidate_causes_stops_the_build_untested(
    error: NPDError, max_attempts: int
) -> None:
    failures = FailureTracker(max_attempts=max_attempts, unit_size=lambda unit: 4)
    failures.clear(6)
    failures.failed(WORK, _failure(error))
    with pytest.raises(BuildError, match="unit 7 failed 2 times; all finished units are saved"):
        failures.failed(WORK, _failure(error))


def test_out_of_memory_stops_the_build_while_no_unit_is_done() -> None:
    with pytest.raises(BuildError, match="unit 7 does not fit into the memory of the GPU"):
        _failures().failed(WORK, _failure(DeviceMemoryError("batch_size")))


def test_out_of_memory_of_a_process_alone_on_its_gpu_stops_the_build() -> None:
    failures = _failures()
    failures.clear(6)
    error = DeviceMemoryError("batch_size", DeviceMemory(total=80, free=1, allocated=78))
    with pytest.raises(BuildError, match="unit 7 does not fit into the memory of the GPU"):
        failures.failed(WORK, _failure(error))


@pytest.mark.parametrize(
    ("free", "allocated", "expected"),
    [
        (0, 780, True),  # a small request that did not fit any more
        (700, 75, True),  # one large request
        (0, 720, False),  # exactly a tenth is elsewhere
        (10, 400, False),  # another process has the rest
        (50, 600, False),  # fragments of the cache have the rest
    ],
)
def test_exceeds_device_if_nearly_all_memory_was_available(
    free: int, allocated: int, expected: bool
) -> None:
    assert exceeds_device(DeviceMemory(total=800, free=free, allocated=allocated)) is expected


def test_exceeds_device_is_false_if_the_memory_is_unknown() -> None:
    assert not exceeds_device(None)


def _until_apart(failures: FailureTracker) -> Work:
    failures.failed(WORK, _failure())
    return failures.failed(WORK, _failure())


def test_out_of_memory_of_a_probe_is_not_blamed_on_its_candidates() -> None:
    failures = _failures()
    failures.clear(6)
    work = failures.probed(_until_apart(failures), None)
    error = DeviceMemoryError("batch_size")
    assert work.probe
    assert failures.probed(work, _failure(error)) == work, "the probe is repeated once"
    with pytest.raises(BuildError, match="unit 7 failed 2 times"):
        failures.probed(work, _failure(error))


def test_unit_that_fails_without_its_candidates_stops_the_build() -> None:
    failures = _failures()
    control = _until_apart(failures)
    with pytest.raises(BuildError, match="also fails without any of its candidates"):
        failures.probed(control, _failure())


def test_unit_whose_candidates_all_fail_alone_stops_the_build() -> None:
    failures = _failures(size=2)
    work = failures.probed(_until_apart(failures), None)
    with pytest.raises(BuildError, match="fails with each of its candidates alone"):
        for _ in range(4):
            work = failures.probed(work, _failure())


def test_probe_lost_with_its_machine_is_repeated() -> None:
    failures = _failures()
    control = _until_apart(failures)
    assert failures.probed(control, _failure(blamed=False)) == control


def test_unit_that_fails_after_its_candidates_were_cleared_stops_the_build() -> None:
    failures = _failures()
    work = _until_apart(failures)
    while work.probe is not None:
        work = failures.probed(work, None)
    assert work == WORK
    assert failures.failed(work, _failure()) == WORK
    with pytest.raises(BuildError, match="more times after its candidates were tested alone"):
        failures.failed(work, _failure())
