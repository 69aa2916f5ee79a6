"""The cache: its size is bounded, processes share it, and killed processes do no harm."""

import fcntl
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from pipeline.core.errors import UserError
from pipeline.reader import Cache
from pipeline.reader.cache import DamagedError
from tests.reader.cached_objects import SIZE, content, digest, files, read

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")

DEADLINE_S = 300
_FORK = get_context("fork")


def test_cache_downloads_an_object_once(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "a" / "b", 10 * SIZE)
    assert [read(cache, "x"), read(cache, "x"), read(cache, "y")] == [True, False, True]
    assert files(cache.folder) == {digest("x"), digest("y")}


def test_cache_removes_the_least_recently_used_file(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 3 * SIZE)
    for age, name in enumerate("abc"):
        read(cache, name)
        os.utime(tmp_path / digest(name), (age, age))
    assert not read(cache, "a")
    read(cache, "d")
    assert files(tmp_path) == {digest(name) for name in "acd"}


def test_open_file_stays_readable_after_its_removal(tmp_path: Path) -> None:
    cache = Cache(tmp_path, SIZE)
    with cache.open(digest("a"), SIZE, lambda start, length: content("a")) as file:
        read(cache, "b")
        assert files(tmp_path) == {digest("b")}
        assert file.read() == content("a")


def test_object_larger_than_the_cache_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds 999 bytes, less than one shard of 1,000"):
        read(Cache(tmp_path, SIZE - 1), "a")


def test_cache_keeps_no_download_with_a_wrong_digest(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 5 * SIZE)
    with pytest.raises(DamagedError):
        cache.open(digest("a"), SIZE, lambda start, length: content("b"))
    assert not (tmp_path / digest("a")).exists()
    assert read(cache, "a")


def _read_names(folder: Path, names: str, bound: int) -> None:
    """Read objects in another process. The cache is too small to keep all of them."""
    assert sum(read(Cache(folder, bound), name) for name in names) >= 4


def _fetch_slowly(folder: Path, begun: Event, name: str) -> None:
    """Start a download in another process, which waits until the process is killed."""

    def fetch(start: int, length: int) -> bytes:
        begun.set()
        signal.pause()
        return b""

    Cache(folder, 2 * SIZE).open(digest(name), SIZE, fetch)


def test_cache_shared_by_processes_is_correct_and_bounded(tmp_path: Path) -> None:
    names = "abcdefgh" * 25
    processes = [
        _FORK.Process(target=_read_names, args=(tmp_path, order, 4 * SIZE), daemon=True)
        for order in (names, names[::-1], names[3:] + names[:3])
    ]
    for process in processes:
        process.start()
    sizes = []
    while any(process.is_alive() for process in processes):
        sizes.append(sum(_sizes(tmp_path)))
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert max(sizes) <= 4 * SIZE
    assert len(files(tmp_path)) <= 4


def _sizes(folder: Path) -> list[int]:
    """Return the sizes of all files, listed under the folder's lock as for a reservation."""
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return [entry.stat().st_size for entry in os.scandir(folder)]


def test_download_of_a_killed_process_is_started_again(tmp_path: Path) -> None:
    begun = _FORK.Event()
    process = _FORK.Process(target=_fetch_slowly, args=(tmp_path, begun, "a"), daemon=True)
    process.start()
    assert begun.wait(DEADLINE_S)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(read, Cache(tmp_path, 2 * SIZE), "a")
        assert read(Cache(tmp_path, 2 * SIZE), "b"), "other objects do not wait"
        assert not waiting.done(), "one download of an object at a time"
        process.kill()
        process.join()
        assert waiting.result(timeout=DEADLINE_S)
    assert files(tmp_path) == {digest("a"), digest("b")}


def test_process_forked_during_a_download_does_not_keep_its_lock(tmp_path: Path) -> None:
    """A DataLoader may start workers while the training process downloads ahead."""
    begun, forked = threading.Event(), threading.Event()

    def fetch(start: int, length: int) -> bytes:
        begun.set()
        assert forked.wait(DEADLINE_S)
        return content("a")[start : start + length]

    with ThreadPoolExecutor(1) as threads:
        download = threads.submit(Cache(tmp_path, SIZE).open, digest("a"), SIZE, fetch)
        assert begun.wait(DEADLINE_S)
        worker = _FORK.Process(target=signal.pause, daemon=True)
        worker.start()
        with (tmp_path / f"{digest('a')}.part").open("rb") as part:
            forked.set()
            download.result(timeout=DEADLINE_S).close()
            fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises if a copy still holds it
    worker.kill()
    worker.join()


def test_cache_removes_the_download_of_a_killed_process(tmp_path: Path) -> None:
    begun = _FORK.Event()
    process = _FORK.Process(target=_fetch_slowly, args=(tmp_path, begun, "a"), daemon=True)
    process.start()
    assert begun.wait(DEADLINE_S)
    process.kill()
    process.join()
    cache = Cache(tmp_path, 2 * SIZE)
    for name in "bc":
        read(cache, name)
    assert files(tmp_path) == {digest("b"), digest("c")}


def test_download_with_missing_bytes_is_refused(folder: Path) -> None:
    """The fetched bytes match the digest, but the reserved file would end in zeros."""
    short = content("a")
    with pytest.raises(DamagedError):
        Cache(folder).open(
            digest("a"), SIZE + 5, lambda start, length: short[start : start + length]
        )
    assert files(folder) == set()


def test_cache_replaces_a_copy_of_another_size(folder: Path) -> None:
    cache = Cache(folder)
    read(cache, "a")
    os.truncate(folder / digest("a"), 7)
    assert read(cache, "a") and not read(cache, "a")


def test_cache_removes_only_files_that_it_created(folder: Path) -> None:
    """A user may keep other files in the folder."""
    cache = Cache(folder, SIZE)
    (folder / "photos").mkdir()
    for name in ("thesis.pdf", "film.part", "0" * 63, digest("x", 5) + ".bak"):
        (folder / name).write_bytes(bytes(2 * SIZE))
        os.utime(folder / name, (1, 1))
    before = files(folder)
    assert read(cache, "a") and read(cache, "b") and not read(cache, "b")
    assert files(folder) == before | {digest("b")}
