"""The cache on file systems that are full, limited, read-only or without locks."""

import errno
import os
import resource
from pathlib import Path

import pytest

from pipeline.core.errors import CacheError
from pipeline.reader import Cache, NoisePairDataset
from tests.environments import (
    FLOCK,
    can_mount,
    in_fork,
    mount_memory,
    refuse_flock,
    remount_read_only,
)
from tests.reader.cached_objects import content, digest, files, read

MIB = 1024 * 1024
LARGE = 2 * MIB


@pytest.fixture
def mount(folder: Path) -> Path:
    """Return a folder at which a forked process can mount a file system."""
    if not can_mount(folder):
        pytest.skip("this user may not mount a file system, even for one process alone")
    return folder


def _fill_up(folder: Path) -> tuple[str, set[str]]:
    """Return the error for an object that does not fit, and the files after a smaller one."""
    mount_memory(folder, MIB)
    cache = Cache(folder)
    with pytest.raises(CacheError) as raised:
        read(cache, "a", LARGE)
    assert files(folder) == set(), "the space is freed"
    assert read(cache, "b") and not read(cache, "b")
    return str(raised.value), files(folder)


def test_full_disk_is_an_error_that_names_folder_and_bytes(mount: Path) -> None:
    message, names = in_fork(_fill_up, mount)
    assert f"the cache folder {mount}" in message
    assert "2,097,152 bytes" in message and "1,048,576 bytes free" in message
    assert "No space left on device" in message and "cache=Cache(folder" in message
    assert names == {digest("b")}


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
    """Limit the size of files after the space was reserved, so that a write is short."""

    def fetch(start: int, length: int) -> bytes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, MIB))
        return content("a", LARGE)[start : start + length]

    with pytest.raises(CacheError) as raised:
        Cache(folder).open(digest("a", LARGE), LARGE, fetch)
    return str(raised.value), files(folder)


def test_short_write_is_an_error_and_leaves_no_file(folder: Path) -> None:
    message, names = in_fork(_write_into_a_limit, folder)
    assert names == set()
    assert f"the cache folder {folder}" in message and "File too large" in message


def _limited(folder: Path) -> str:
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, MIB))
    with pytest.raises(CacheError) as raised:
        Cache(folder).open(digest("a", LARGE), LARGE, _never)
    return str(raised.value)


def _never(start: int, length: int) -> bytes:
    raise AssertionError("downloaded without reserved space")


def test_cache_reserves_space_before_it_downloads(folder: Path) -> None:
    assert "File too large" in in_fork(_limited, folder)


def _read_read_only(folder: Path) -> tuple[bool, str]:
    mount_memory(folder, MIB)
    cache = Cache(folder)
    read(cache, "a")
    remount_read_only(folder)
    with pytest.raises(CacheError) as raised:
        read(cache, "b")
    return read(cache, "a"), str(raised.value)


def test_read_only_cache_returns_complete_files(mount: Path) -> None:
    fetched, message = in_fork(_read_read_only, mount)
    assert not fetched
    assert f"the cache folder {mount}" in message and "Read-only file system" in message
    assert "XDG_CACHE_HOME" in message


def _read_without_flock(folder: Path, code: int) -> tuple[bool, str]:
    refuse_flock(code)
    cache = Cache(folder)
    with pytest.raises(CacheError) as raised:
        read(cache, "b")
    return read(cache, "a"), str(raised.value)


@pytest.mark.skipif(os.uname().machine not in FLOCK, reason="flock has another number here")
@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_cache_without_file_locks_returns_complete_files(folder: Path, code: int) -> None:
    read(Cache(folder), "a")
    fetched, message = in_fork(_read_without_flock, folder, code)
    assert not fetched and files(folder) == {digest("a")}
    assert f"the cache folder {folder}" in message and "file locks (flock)" in message
