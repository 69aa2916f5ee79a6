"""File locks: one holder at a time, and released at the end of the block, also after a fork."""

import fcntl
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import psutil
import pytest

from pipeline.storage import file_lock
from pipeline.storage.file_lock import locked
from pipeline.storage.local import LocalStore
from pipeline.storage.object_store import RESERVED
from tests.waiting import until


def test_lock_keeps_threads_apart(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    inside: list[int] = []

    def enter(number: int) -> None:
        with path.open("w") as file, locked(file):
            inside.append(number)
            assert inside == [number]
            inside.remove(number)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(enter, range(200)))


def test_lock_that_is_held_already_is_kept_to_the_end(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with locked(file):
            assert not _is_free(path)
        assert _is_free(path)


def test_lock_is_free_though_a_process_that_was_forked_in_it_lives(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    worker = get_context("fork").Process(target=signal.pause, daemon=True)
    with path.open("w") as file, locked(file):
        worker.start()
        assert not _is_free(path)
    assert worker.is_alive() and _is_free(path)
    worker.kill()
    worker.join()


def test_writer_that_waits_for_a_suspended_one_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(file_lock, "LONG_WAIT_S", 0.05)
    store = LocalStore(tmp_path)
    path = tmp_path / f"{RESERVED}lock"
    other = get_context("fork").Process(target=_suspended_with_the_lock, args=[path])
    other.start()
    process = psutil.Process(other.pid)
    try:
        assert until(lambda: process.status() == psutil.STATUS_STOPPED, 60)
        with ThreadPoolExecutor(1) as threads:
            put = threads.submit(store.put, "key", b"data")
            warned = until(lambda: f"still waiting for {path}" in caplog.text, 60)
            assert warned and not put.done()
            process.resume()
            put.result(60)
    finally:
        other.kill()  # also if it is still suspended
    assert store.get("key") == b"data"


def _suspended_with_the_lock(path: Path) -> None:
    with path.open("w") as file, locked(file):
        os.kill(os.getpid(), signal.SIGSTOP)


def _is_free(path: Path) -> bool:
    """Return True if another holder could take the lock now."""
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
