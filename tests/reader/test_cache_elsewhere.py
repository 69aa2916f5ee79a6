"""The cache where it cannot be written: what is complete is read, the rest is a clear error."""

import errno
import hashlib
import os
import resource
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.sdxl_pairs import write_pairs
from pipeline.errors import CacheError
from pipeline.reader import Cache, NoisePairDataset, NoisePairTable
from pipeline.reader.cache import DamagedError
from tests.environments import (
    FLOCK,
    NOBODY,
    STRANGER,
    become,
    can_mount,
    in_fork,
    mount_memory,
    needs_root,
    refuse_flock,
    remount_read_only,
)
from tests.reader.conftest import SHAPE

_MIB = 1024 * 1024
_SMALL, _LARGE = 10_000, 2 * _MIB


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder that every user may list; pytest's are for one user alone."""
    made = Path(tempfile.mkdtemp())
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def mount(folder: Path) -> Path:
    """A folder to mount a file system at, in a forked process."""
    if not can_mount(folder):
        pytest.skip("this user may not mount a file system, even for one process alone")
    return folder


def _content(name: str, num_bytes: int) -> bytes:
    return (name * num_bytes).encode()[:num_bytes]


def _digest(name: str, num_bytes: int) -> str:
    return hashlib.sha256(_content(name, num_bytes)).hexdigest()


def _read(cache: Cache, name: str, num_bytes: int = _SMALL) -> bool:
    """Read an object through a cache; return whether it was fetched."""

    def fetch(start: int, length: int) -> bytes:
        fetched.append(start)
        return _content(name, num_bytes)[start : start + length]

    fetched: list[int] = []
    with cache.open(_digest(name, num_bytes), num_bytes, fetch) as file:
        assert file.read() == _content(name, num_bytes)
    return bool(fetched)


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def _fill_up(folder: Path) -> tuple[str, set[str]]:
    """On a file system of 1 MiB: the error of a large object; what a small one then leaves."""
    mount_memory(folder, _MIB)
    cache = Cache(folder)
    with pytest.raises(CacheError) as raised:
        _read(cache, "a", _LARGE)
    assert _names(folder) == set(), "the disk is given back"
    assert _read(cache, "b") and not _read(cache, "b")
    return str(raised.value), _names(folder)


def test_cache_on_a_full_disk_is_an_error_that_names_folder_and_bytes(mount: Path) -> None:
    message, names = in_fork(_fill_up, mount)
    assert f"the cache folder {mount}" in message
    assert "2,097,152 bytes" in message and "1,048,576 bytes free" in message
    assert "No space left on device" in message and "cache=Cache(folder" in message
    assert names == {_digest("b", _SMALL)}


def _read_pairs_where_disk_is_full(mount: Path, url: str, verify: bool) -> str:
    mount_memory(mount, 64 * 1024)
    with pytest.raises(CacheError) as raised:
        for _ in NoisePairDataset(url, cache=Cache(mount), verify=verify, on_damage="skip"):
            pass
    return str(raised.value)


@pytest.mark.parametrize("verify", [True, False])
def test_reader_on_a_full_disk_does_not_blame_the_store(
    mount: Path, pairs_folder: Path, verify: bool
) -> None:
    message = in_fork(_read_pairs_where_disk_is_full, mount, str(pairs_folder), verify)
    assert str(mount) in message and "npd repair" not in message


def _write_into_a_limit(folder: Path) -> tuple[str, set[str]]:
    """Let the size of files be limited when room is already reserved: a write is then short."""

    def fetch(start: int, length: int) -> bytes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (_MIB, _MIB))
        return _content("a", _LARGE)[start : start + length]

    with pytest.raises(CacheError) as raised:
        Cache(folder).open(_digest("a", _LARGE), _LARGE, fetch)
    return str(raised.value), _names(folder)


def test_cache_short_write_is_an_error_and_leaves_nothing(folder: Path) -> None:
    message, names = in_fork(_write_into_a_limit, folder)
    assert names == set()
    assert f"the cache folder {folder}" in message and "File too large" in message


def _limited(folder: Path) -> str:
    resource.setrlimit(resource.RLIMIT_FSIZE, (_MIB, _MIB))
    with pytest.raises(CacheError) as raised:
        Cache(folder).open(_digest("a", _LARGE), _LARGE, _never)
    return str(raised.value)


def _never(start: int, length: int) -> bytes:
    raise AssertionError("nothing is to be fetched where there is no room for it")


def test_cache_asks_for_room_before_it_fetches(folder: Path) -> None:
    assert "File too large" in in_fork(_limited, folder)


def test_cache_refuses_fewer_bytes_than_promised(folder: Path) -> None:
    """Padded with zeros they would stand under the digest of what was fetched."""
    short = _content("a", _SMALL)
    with pytest.raises(DamagedError):
        Cache(folder).open(
            _digest("a", _SMALL), _SMALL + 5, lambda start, length: short[start : start + length]
        )
    assert _names(folder) == set()


def test_cache_replaces_a_copy_of_another_size(folder: Path) -> None:
    cache = Cache(folder)
    _read(cache, "a")
    os.truncate(folder / _digest("a", _SMALL), 7)
    assert _read(cache, "a") and not _read(cache, "a")


@pytest.mark.parametrize("format_name", ["arrow", "webdataset"])
def test_unverified_reader_replaces_a_copy_that_cannot_be_parsed(
    folder: Path, tmp_path: Path, format_name: str
) -> None:
    url = str(tmp_path / "pairs")
    write_pairs(url, 5, latent_shape=SHAPE, formats=(format_name,))
    cache = Cache(folder)
    wanted = [row["seed"] for row in NoisePairTable(url, cache=cache, verify=False)]
    (name,) = _names(folder)
    (folder / name).write_bytes(bytes((folder / name).stat().st_size))
    assert [row["seed"] for row in NoisePairTable(url, cache=cache, verify=False)] == wanted
    assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == name


def test_cache_removes_no_file_that_is_not_its_own(folder: Path) -> None:
    """In a folder that somebody also keeps other things in."""
    cache = Cache(folder, _SMALL)
    (folder / "photos").mkdir()
    for name in ("thesis.pdf", "film.part", "0" * 63, _digest("x", 5) + ".bak"):
        (folder / name).write_bytes(bytes(2 * _SMALL))
        os.utime(folder / name, (1, 1))
    before = _names(folder)
    assert _read(cache, "a") and _read(cache, "b") and not _read(cache, "b")
    assert _names(folder) == before | {_digest("b", _SMALL)}


def _read_read_only(folder: Path) -> tuple[bool, str]:
    mount_memory(folder, _MIB)
    cache = Cache(folder)
    _read(cache, "a")
    remount_read_only(folder)
    with pytest.raises(CacheError) as raised:
        _read(cache, "b")
    return _read(cache, "a"), str(raised.value)


def test_cache_mounted_read_only_gives_what_is_complete(mount: Path) -> None:
    fetched, message = in_fork(_read_read_only, mount)
    assert not fetched
    assert f"the cache folder {mount}" in message and "Read-only file system" in message
    assert "XDG_CACHE_HOME" in message


def _read_as(user: int, folder: Path) -> tuple[bool, str]:
    become(user)
    cache = Cache(folder)
    with pytest.raises(CacheError) as raised:
        _read(cache, "b")
    return _read(cache, "a"), str(raised.value)


@needs_root
@pytest.mark.parametrize("with_lock", [True, False])
def test_cache_of_another_user_gives_what_is_complete(folder: Path, with_lock: bool) -> None:
    _read(Cache(folder), "a")
    if not with_lock:
        (folder / ".lock").unlink()
    fetched, message = in_fork(_read_as, NOBODY, folder)
    assert not fetched
    assert f"the cache folder {folder}" in message and "Permission denied" in message


@needs_root
def test_cache_of_another_user_with_a_damaged_copy_is_not_the_stores_fault(
    folder: Path, tmp_path: Path
) -> None:
    pairs = folder / "pairs"
    write_pairs(str(pairs), 5, latent_shape=SHAPE)
    cache = Cache(folder / "cache")
    list(NoisePairDataset(str(pairs), cache=cache))
    (name,) = _names(cache.folder)
    (cache.folder / name).write_bytes(bytes((cache.folder / name).stat().st_size))
    message = in_fork(_read_damaged_as, NOBODY, str(pairs), cache)
    assert name in message and "damaged" in message and "remove" in message
    assert "npd repair" not in message


def _read_damaged_as(user: int, url: str, cache: Cache) -> str:
    become(user)
    with pytest.raises(CacheError) as raised:
        list(NoisePairDataset(url, cache=cache))
    return str(raised.value)


def _share(folder: Path) -> set[str]:
    """In a folder like /tmp, where everybody may create and nobody may remove others' files."""
    become(NOBODY)
    roomy = Cache(folder, 4 * _SMALL)
    assert not _read(roomy, "a") and _read(roomy, "b") and _read(roomy, "c")
    for name, age in (("b", 2), ("c", 3)):
        os.utime(folder / _digest(name, _SMALL), (age, age))
    assert _read(Cache(folder, 3 * _SMALL), "d"), "its own oldest file makes room"
    names = _names(folder)
    with pytest.raises(CacheError, match=r"10,000 bytes of other users.*other users' files stay"):
        _read(Cache(folder, _SMALL + 1), "e")
    return names


@needs_root
def test_cache_shared_among_users_leaves_alone_what_it_may_not_remove(folder: Path) -> None:
    folder.chmod(0o1777)
    _read(Cache(folder), "a")
    os.utime(folder / _digest("a", _SMALL), (1, 1))
    assert in_fork(_share, folder) == {_digest(name, _SMALL) for name in "acd"}


def _begin(folder: Path) -> None:
    def killed(start: int, length: int) -> bytes:
        os._exit(0)

    Cache(folder).open(_digest("a", _SMALL), _SMALL, killed)


@needs_root
def test_cache_download_that_another_user_left_is_in_nobodys_way(folder: Path) -> None:
    folder.chmod(0o1777)
    if (child := os.fork()) == 0:
        _begin(folder)
    os.waitpid(child, 0)
    assert len(_names(folder)) == 1
    assert in_fork(_fetch_as, NOBODY, folder)


def _fetch_as(user: int, folder: Path) -> bool:
    become(user)
    return _read(Cache(folder), "a")


@needs_root
def test_cache_copy_that_only_its_owner_may_read_is_a_clear_error(folder: Path) -> None:
    folder.chmod(0o1777)
    _read(Cache(folder), "a")
    (folder / _digest("a", _SMALL)).chmod(0o600)
    with pytest.raises(CacheError, match=f"{folder}.*Permission denied"):
        in_fork(_fetch_as, NOBODY, folder)


def _default_as(user: int) -> str:
    os.environ.pop("HOME", None)
    os.environ.pop("XDG_CACHE_HOME", None)
    become(user)
    with pytest.raises(CacheError) as raised:
        Cache.default()
    return str(raised.value)


@needs_root
def test_default_cache_without_a_home_says_what_to_set() -> None:
    message = in_fork(_default_as, STRANGER)
    assert "home" in message and "XDG_CACHE_HOME" in message and "Cache(folder)" in message


def test_default_cache_in_a_home_that_cannot_be_made_is_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").write_text("a file")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/paths/are/ignored")
    with pytest.raises(CacheError, match=rf"{tmp_path}/home/\.cache/.*Not a directory"):
        _read(Cache.default(), "a")


def _read_without_flock(folder: Path, code: int) -> tuple[bool, str]:
    refuse_flock(code)
    cache = Cache(folder)
    with pytest.raises(CacheError) as raised:
        _read(cache, "b")
    return _read(cache, "a"), str(raised.value)


@pytest.mark.skipif(os.uname().machine not in FLOCK, reason="another number of the system call")
@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_cache_without_flock_gives_what_is_complete(folder: Path, code: int) -> None:
    _read(Cache(folder), "a")
    fetched, message = in_fork(_read_without_flock, folder, code)
    assert not fetched and _names(folder) == {_digest("a", _SMALL)}
    assert f"the cache folder {folder}" in message and "file locks (flock)" in message
