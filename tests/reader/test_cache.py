"""The cache: bounded, shared by processes, and right whatever is killed."""

import fcntl
import hashlib
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest
from torch.utils.data import DataLoader

from benchmarks.sdxl_pairs import write_pairs
from pipeline.errors import ObjectNotFoundError, UserError, VerificationError
from pipeline.reader import Cache, NoisePairDataset, NoisePairTable
from pipeline.reader.cache import DamagedError
from pipeline.records import Split
from pipeline.storage.local import LocalStore
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.open import open_store
from tests.publish.damage import flip
from tests.reader.conftest import COUNT, SHAPE
from tests.reader.reading import ids_of, ledger_of
from tests.sealed import manifest_of

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")

_SIZE = 1000
DEADLINE_S = 300
_FORK = get_context("fork")


def _content(name: str) -> bytes:
    return (name * _SIZE).encode()[:_SIZE]


def _digest(name: str) -> str:
    return hashlib.sha256(_content(name)).hexdigest()


def _read(cache: Cache, name: str) -> bytes:
    def fetch(start: int, length: int) -> bytes:
        fetched.append(name)
        return _content(name)[start : start + length]

    fetched: list[str] = []
    with cache.open(_digest(name), _SIZE, fetch) as file:
        data = file.read()
    assert data == _content(name)
    return b"fetched" if fetched else b"there"


def _files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def test_cache_fetches_once(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "a" / "b", 10 * _SIZE)
    assert [_read(cache, "x"), _read(cache, "x"), _read(cache, "y")] == [
        b"fetched",
        b"there",
        b"fetched",
    ]
    assert _files(cache.folder) == {_digest("x"), _digest("y")}


def test_cache_removes_what_was_not_used_for_longest(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 3 * _SIZE)
    for age, name in enumerate("abc"):
        _read(cache, name)
        os.utime(tmp_path / _digest(name), (age, age))
    assert _read(cache, "a") == b"there"
    _read(cache, "d")
    assert _files(tmp_path) == {_digest(name) for name in "acd"}


def test_cache_file_that_is_open_outlives_its_removal(tmp_path: Path) -> None:
    cache = Cache(tmp_path, _SIZE)
    with cache.open(_digest("a"), _SIZE, lambda start, length: _content("a")) as file:
        _read(cache, "b")
        assert _files(tmp_path) == {_digest("b")}
        assert file.read() == _content("a")


def test_cache_smaller_than_an_object_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds 999 bytes, less than one shard of 1,000"):
        _read(Cache(tmp_path, _SIZE - 1), "a")


def test_cache_keeps_no_bytes_of_another_digest(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 5 * _SIZE)
    with pytest.raises(DamagedError):
        cache.open(_digest("a"), _SIZE, lambda start, length: _content("b"))
    assert not (tmp_path / _digest("a")).exists()
    assert _read(cache, "a") == b"fetched"


def _read_names(folder: Path, names: str, bound: int) -> None:
    """In another process: more has to be fetched than is kept."""
    assert sum(_read(Cache(folder, bound), name) == b"fetched" for name in names) >= 4


def _fetch_slowly(folder: Path, begun: Event, name: str) -> None:
    """In another process: a download that is in the middle until the process is killed."""

    def fetch(start: int, length: int) -> bytes:
        begun.set()
        signal.pause()
        return b""

    Cache(folder, 2 * _SIZE).open(_digest(name), _SIZE, fetch)


def test_cache_shared_by_processes_stays_right_and_bounded(tmp_path: Path) -> None:
    names = "abcdefgh" * 25
    processes = [
        _FORK.Process(target=_read_names, args=(tmp_path, order, 4 * _SIZE), daemon=True)
        for order in (names, names[::-1], names[3:] + names[:3])
    ]
    for process in processes:
        process.start()
    sizes = []
    while any(process.is_alive() for process in processes):
        sizes.append(sum(_sizes(tmp_path)))
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert max(sizes) <= 4 * _SIZE
    assert len(_files(tmp_path)) <= 4


def _sizes(folder: Path) -> list[int]:
    """As another process sees them that may reserve now: under the folder's lock."""
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return [entry.stat().st_size for entry in os.scandir(folder)]


def test_cache_download_killed_in_the_middle_is_begun_again(tmp_path: Path) -> None:
    begun = _FORK.Event()
    process = _FORK.Process(target=_fetch_slowly, args=(tmp_path, begun, "a"), daemon=True)
    process.start()
    assert begun.wait(DEADLINE_S)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(_read, Cache(tmp_path, 2 * _SIZE), "a")
        assert _read(Cache(tmp_path, 2 * _SIZE), "b") == b"fetched", "others need not wait"
        assert not waiting.done(), "one download of an object at a time"
        process.kill()
        process.join()
        assert waiting.result(timeout=DEADLINE_S) == b"fetched"
    assert _files(tmp_path) == {_digest("a"), _digest("b")}


def test_cache_process_forked_in_the_middle_of_a_download_keeps_no_lock(tmp_path: Path) -> None:
    """A DataLoader's worker, say, while the process that trains looks ahead."""
    begun, forked = threading.Event(), threading.Event()

    def fetch(start: int, length: int) -> bytes:
        begun.set()
        assert forked.wait(DEADLINE_S)
        return _content("a")[start : start + length]

    with ThreadPoolExecutor(1) as threads:
        download = threads.submit(Cache(tmp_path, _SIZE).open, _digest("a"), _SIZE, fetch)
        assert begun.wait(DEADLINE_S)
        worker = _FORK.Process(target=signal.pause, daemon=True)
        worker.start()
        with (tmp_path / f"{_digest('a')}.part").open("rb") as part:
            forked.set()
            download.result(timeout=DEADLINE_S).close()
            fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)  # where another process waits
    worker.kill()
    worker.join()


def test_cache_removes_what_a_killed_process_left(tmp_path: Path) -> None:
    begun = _FORK.Event()
    process = _FORK.Process(target=_fetch_slowly, args=(tmp_path, begun, "a"), daemon=True)
    process.start()
    assert begun.wait(DEADLINE_S)
    process.kill()
    process.join()
    cache = Cache(tmp_path, 2 * _SIZE)
    for name in "bc":
        _read(cache, name)
    assert _files(tmp_path) == {_digest("b"), _digest("c")}


@pytest.fixture
def pairs_on_s3(s3_url: str) -> str:
    write_pairs(s3_url, COUNT, latent_shape=SHAPE, shard_bytes=12_800)
    return s3_url


def test_s3_is_read_through_a_bounded_cache(
    pairs_on_s3: str, pairs_folder: Path, tmp_path: Path
) -> None:
    ids = sorted(row["sample_id"] for row in ledger_of(pairs_folder))
    cache = Cache(tmp_path / "mine", 60_000)
    pairs = NoisePairDataset(pairs_on_s3, seed=1, batch_size=8, cache=cache)
    for workers in (0, 2):
        assert sorted(ids_of(DataLoader(pairs, batch_size=None, num_workers=workers))) == ids
    sizes = [path.stat().st_size for path in cache.folder.iterdir()]
    assert 1 < len(sizes) < 5 and sum(sizes) <= 60_000
    filtered = NoisePairDataset(pairs_on_s3, min_gain={"image_reward": 1.0}, cache=cache)
    local = NoisePairDataset(str(pairs_folder), min_gain={"image_reward": 1.0})
    assert [*ids_of(filtered)] == [*ids_of(local)]
    table = NoisePairTable(pairs_on_s3, cache=cache)
    assert table[ids[5]]["sample_id"] == ids[5]


def test_s3_default_cache_is_the_persons(pairs_on_s3: str, tmp_path: Path) -> None:
    assert len([*NoisePairDataset(pairs_on_s3)]) == COUNT
    folder = tmp_path / "cache" / "noise-prompt-dataset"
    assert Cache.default().folder == folder and len(_files(folder)) == 5


def test_s3_cached_file_that_went_bad_is_fetched_anew(pairs_on_s3: str, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "mine")
    assert len([*NoisePairDataset(pairs_on_s3, cache=cache)]) == COUNT
    for name in _files(cache.folder):
        flip(cache.folder / name)
    assert len([*NoisePairDataset(pairs_on_s3, cache=cache)]) == COUNT
    for name in _files(cache.folder):
        assert hashlib.sha256((cache.folder / name).read_bytes()).hexdigest() == name


def test_s3_damage_is_an_error_that_names_the_shard(pairs_on_s3: str, tmp_path: Path) -> None:
    store = open_store(pairs_on_s3)
    first, second, *_ = sorted(info.key for info in store.list("shards/"))
    data = bytearray(store.get(first))
    data[len(data) // 2] ^= 1
    store.put(first, bytes(data))
    store.delete(second)
    cache = Cache(tmp_path / "mine")
    with pytest.raises(VerificationError, match=first):
        list(NoisePairDataset(pairs_on_s3, cache=cache))
    with pytest.raises(ObjectNotFoundError, match=second):
        NoisePairTable(pairs_on_s3, cache=cache)[60]
    skipping = NoisePairDataset(pairs_on_s3, cache=cache, on_damage="skip")
    with pytest.warns(UserWarning, match="skipped a shard"):
        assert len([*skipping]) == COUNT - 100
    assert len(skipping.damaged) == 2


def test_reader_asks_for_success_and_manifests_alone_to_open(
    pairs_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    class Watched(LocalStore):
        def get(self, key: str) -> bytes:
            asked.append(key)
            return super().get(key)

        def list(self, prefix: str) -> Iterator[object]:
            raise AssertionError(f"listed {prefix}")

    def opened(url: str, *, unsigned: bool) -> ObjectStore:
        assert not unsigned
        return Watched(Path(url))

    monkeypatch.setattr("pipeline.reader.catalog.open_store", opened)
    assert len([*NoisePairDataset(str(pairs_folder))]) == COUNT
    manifest = manifest_of(pairs_folder)
    assert asked == ["_SUCCESS", f"manifests/{manifest.plan_id}/v1.json"]
    assert manifest.num_samples(Split.TRAIN) == COUNT
