"""File locks: one holder at a time, and released at the end of the block, also after a fork."""

import fcntl
import signal
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from pipeline.storage.file_lock import locked


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


def _is_free(path: Path) -> bool:
    """Return True if another holder could take the lock now."""
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
