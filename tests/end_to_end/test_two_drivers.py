"""Two drivers of one build: both end well, with the bytes of an undisturbed build.

One of them is a job on a running cluster, and one pair of them builds into S3.
"""

import os
import re
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import ray

from pipeline.cluster.messages import UNITS_IN_FLIGHT
from pipeline.storage.open import open_store
from tests.end_to_end.builds import (
    DEADLINE_S,
    NUM_UNITS,
    Npd,
    module_command,
    sealed_bytes,
    stored_receipts,
)
from tests.waiting import until

Driver = subprocess.Popen[str]

NPD_BUILD = ("pipeline.cli", "build")

COMMITTED = re.compile(r"this run has committed (\d+) units?, and another attempt, .*, (\d+)")


@contextmanager
def _driver(module: Sequence[str], config: Path, url: object, **variables: str) -> Iterator[Driver]:
    """Start a build with one worker, with environment variables beside those of this process."""
    command = module_command(*module, config, "--out", url, "--workers", 1)
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | variables,
    ) as driver:
        try:
            yield driver
        finally:
            driver.kill()  # nothing happens if it has ended


def _wait_for_receipts(url: object, count: int, driver: Driver) -> None:
    store = open_store(str(url))
    assert until(
        lambda: driver.poll() is not None or len(stored_receipts(store)) >= count, DEADLINE_S, 0.02
    )
    assert driver.poll() is None, "it ended before the second driver"


def _ended(driver: Driver) -> str:
    """Return the output of a driver that succeeds."""
    printed, _ = driver.communicate(timeout=DEADLINE_S)
    assert driver.returncode == 0, printed
    assert "sealed at" in printed
    return printed


def _committed(printed: str) -> tuple[int, int]:
    """Return the number of units that a run, and other attempts, have committed meanwhile."""
    found = COMMITTED.search(printed)
    assert found is not None, printed
    return int(found[1]), int(found[2])


@pytest.fixture
def address(ray_cluster: None) -> str:
    """A cluster with two CPUs, which two drivers share."""
    found: str = ray.get_runtime_context().gcs_address
    return found


def test_driver_that_was_suspended_ends_after_another_one_has_sealed(
    config_path: Path, undisturbed: Path, tmp_path: Path, address: str
) -> None:
    """The second one is a job that finds the running cluster as jobs do."""
    out = tmp_path / "out"
    with _driver((*NPD_BUILD, "--address", address), config_path, out) as first:
        _wait_for_receipts(out, 1, first)
        first.send_signal(signal.SIGSTOP)
        with _driver(["jobs.build"], config_path, out, RAY_ADDRESS=address) as second:
            resumed = _ended(second)
        before = stored_receipts(open_store(str(out)))
        sealed = sealed_bytes(out)
        first.send_signal(signal.SIGCONT)
        printed = _ended(first)
    assert re.search(r"resuming: \d+ units? done before", resumed)
    assert "another run of this build has sealed it" in printed
    mine, others = _committed(printed)
    assert mine >= 1
    assert mine + others == NUM_UNITS, "it has done nothing again"
    assert stored_receipts(open_store(str(out))) == before
    assert sealed == sealed_bytes(out) == sealed_bytes(undisturbed)
    assert ray.is_initialized()
    assert ray.cluster_resources(), "the cluster still runs"


def test_retry_and_the_attempt_before_it_share_the_units_of_a_build_into_s3(
    npd: Npd, config_path: Path, undisturbed: Path, s3_url: str
) -> None:
    """Each attempt starts its Ray, as after a retry of KubeRay."""
    # In separate processes, because workers inherit the credentials of the Ray that starts them.
    with _driver(NPD_BUILD, config_path, s3_url) as first:
        _wait_for_receipts(s3_url, 1, first)
        first.send_signal(signal.SIGSTOP)  # the first attempt is still there, and looks lost
        with _driver(NPD_BUILD, config_path, s3_url) as retry:
            _wait_for_receipts(s3_url, 2 + UNITS_IN_FLIGHT, retry)
            first.send_signal(signal.SIGCONT)
            printed, again = _ended(first), _ended(retry)
    assert re.search(r"resuming: [1-9]\d* units? done before", again)
    mine, others = _committed(printed)
    assert mine >= 1
    assert others >= 1
    assert mine + others == NUM_UNITS
    assert sealed_bytes(s3_url) == sealed_bytes(undisturbed)
    verified = npd("verify", s3_url)
    assert (verified.code, verified.err.count("wrong")) == (0, 0)
