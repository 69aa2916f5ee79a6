"""The cache of other users, and of users without a home directory."""

import os
from pathlib import Path

import pytest

from benchmarks.sdxl_pairs import write_pairs
from pipeline.core.errors import CacheError
from pipeline.reader import Cache, NoisePairDataset
from tests.environments import (
    NOBODY,
    STRANGER,
    become,
    in_fork,
    needs_root,
)
from tests.reader.cached_objects import SIZE, digest, files, read
from tests.reader.conftest import SHAPE


def _read_as(user: int, folder: Path) -> tuple[bool, str]:
    become(user)
    cache = Cache(folder)
    with pytest.raises(CacheError) as raised:
        read(cache, "b")
    return read(cache, "a"), str(raised.value)


@needs_root
@pytest.mark.parametrize("with_lock", [True, False])
def test_cache_of_another_user_returns_complete_files(folder: Path, with_lock: bool) -> None:
    read(Cache(folder), "a")
    if not with_lock:
        (folder / ".lock").unlink()
    fetched, message = in_fork(_read_as, NOBODY, folder)
    assert not fetched
    assert f"the cache folder {folder}" in message and "Permission denied" in message


@needs_root
def test_damaged_file_of_another_user_is_not_reported_as_damage_of_the_store(
    folder: Path, tmp_path: Path
) -> None:
    pairs = folder / "pairs"
    write_pairs(str(pairs), 5, latent_shape=SHAPE)
    cache = Cache(folder / "cache")
    list(NoisePairDataset(str(pairs), cache=cache))
    (name,) = files(cache.folder)
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
    """Read in a folder like /tmp, where users cannot remove each other's files."""
    become(NOBODY)
    roomy = Cache(folder, 4 * SIZE)
    assert not read(roomy, "a") and read(roomy, "b") and read(roomy, "c")
    for name, age in (("b", 2), ("c", 3)):
        os.utime(folder / digest(name), (age, age))
    assert read(Cache(folder, 3 * SIZE), "d"), "the oldest file of this user is removed"
    names = files(folder)
    with pytest.raises(CacheError, match=r"1,000 bytes of other users.*other users' files stay"):
        read(Cache(folder, SIZE + 1), "e")
    return names


@needs_root
def test_cache_of_several_users_keeps_files_that_it_may_not_remove(folder: Path) -> None:
    folder.chmod(0o1777)
    read(Cache(folder), "a")
    os.utime(folder / digest("a"), (1, 1))
    assert in_fork(_share, folder) == {digest(name) for name in "acd"}


def _begin(folder: Path) -> None:
    def killed(start: int, length: int) -> bytes:
        os._exit(0)

    Cache(folder).open(digest("a"), SIZE, killed)


@needs_root
def test_download_left_by_another_user_does_not_block(folder: Path) -> None:
    folder.chmod(0o1777)
    if (child := os.fork()) == 0:
        _begin(folder)
    os.waitpid(child, 0)
    assert len(files(folder)) == 1
    assert in_fork(_fetch_as, NOBODY, folder)


def _fetch_as(user: int, folder: Path) -> bool:
    become(user)
    return read(Cache(folder), "a")


@needs_root
def test_file_that_only_its_owner_may_read_is_a_clear_error(folder: Path) -> None:
    folder.chmod(0o1777)
    read(Cache(folder), "a")
    (folder / digest("a")).chmod(0o600)
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
def test_default_cache_without_a_home_names_the_setting() -> None:
    message = in_fork(_default_as, STRANGER)
    assert "home" in message and "XDG_CACHE_HOME" in message and "Cache(folder)" in message


def test_default_cache_in_a_home_that_cannot_be_created_is_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").write_text("a file")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/paths/are/ignored")
    with pytest.raises(CacheError, match=rf"{tmp_path}/home/\.cache/.*Not a directory"):
        read(Cache.default(), "a")
