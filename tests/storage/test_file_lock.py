"""The lock of a file: one holder at a time, and free when its block ends, whatever was forked."""

import fcntl
import signal
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from pipeline.storage.file_lock import locked

_NOW = fcntl.LOCK_EX | fcntl.LOCK_NB


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
    with (tmp_path / "lock").open("w") as file, (tmp_path / "lock").open() as other:
        fcntl.flock(file, _NOW)
        with locked(file), pytest.raises(BlockingIOError):
            fcntl.flock(other, _NOW)
        fcntl.flock(other, _NOW)


def test_lock_is_free_though_a_process_that_was_forked_in_it_lives(tmp_path: Path) -> None:
    worker = get_context("fork").Process(target=signal.pause, daemon=True)
    with (tmp_path / "lock").open("w") as file, locked(file):
        worker.start()
    with (tmp_path / "lock").open() as other:
        fcntl.flock(other, _NOW)
    worker.kill()
    worker.join()
