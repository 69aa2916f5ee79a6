"""A local store opens regular files only, and no link leads out of its folder."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.core.errors import ObjectNotFoundError, PermanentStoreError
from pipeline.storage.confinement import path_beneath
from pipeline.storage.local import LocalStore

pytestmark = pytest.mark.timeout(20)  # a FIFO without a writer would be waited for


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "file").write_bytes(b"outside")
    return folder


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    store = LocalStore(tmp_path / "store")
    store.put("a/file", b"inside")
    return store


READS: list[Callable[[LocalStore, str, Path], object]] = [
    lambda store, key, path: store.get(key),
    lambda store, key, path: store.get_range(key, 0, 4),
    lambda store, key, path: store.get_versioned(key),
    lambda store, key, path: store.open(key),
]


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("kind", ["fifo", "device", "link", "folder"])
def test_read_of_anything_but_a_regular_file_is_an_error(
    store: LocalStore,
    outside: Path,
    tmp_path: Path,
    kind: str,
    read: Callable[[LocalStore, str, Path], object],
) -> None:
    path, key = store.root / "a" / "other", "a/other"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "link":
        path.symlink_to(outside / "file")
    else:
        (store.root / "linked").symlink_to(outside)
        key = "linked/file"
    with pytest.raises(PermanentStoreError, match=r"not a regular file|leads out of the store"):
        read(store, key, tmp_path / "copy")


def test_links_within_the_store_are_followed(store: LocalStore) -> None:
    (store.root / "b").symlink_to("a")
    (store.root / "a" / "again").symlink_to("file")
    assert store.get("b/file") == store.get("a/again") == b"inside"


def test_store_behind_a_link_is_used(store: LocalStore, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(store.root)
    linked = LocalStore(tmp_path / "link")
    assert linked.put_if_absent("a/new", b"new")
    assert store.get("a/new") == b"new"
    assert [info.key for info in linked.list("")] == ["a/file", "a/new"]


def test_link_to_itself_is_listed_and_not_read(store: LocalStore) -> None:
    (store.root / "a" / "loop").symlink_to("loop")
    assert [info.key for info in store.list("")] == ["a/file", "a/loop"]
    with pytest.raises((ObjectNotFoundError, PermanentStoreError)):
        store.get("a/loop")


@pytest.mark.parametrize(
    "write",
    [
        lambda store, key: store.put(key, b"new"),
        lambda store, key: store.put_if_absent(key, b"new"),
        lambda store, key: store.put_if_version(key, b"new", "version"),
        lambda store, key: store.delete(key),
    ],
)
def test_write_through_a_linked_folder_is_an_error_and_changes_nothing(
    store: LocalStore, outside: Path, write: Callable[[LocalStore, str], object]
) -> None:
    (store.root / "linked").symlink_to(outside)
    with pytest.raises(PermanentStoreError, match="leads out of the store"):
        write(store, "linked/file")
    assert {path.name: path.read_bytes() for path in outside.iterdir()} == {"file": b"outside"}


def test_put_replaces_a_link_and_not_the_file_behind_it(store: LocalStore, outside: Path) -> None:
    (store.root / "a" / "link").symlink_to(outside / "file")
    with pytest.raises(PermanentStoreError, match="leads out of the store"):
        store.put_if_absent("a/link", b"outside")
    store.put("a/link", b"new")
    assert store.get("a/link") == b"new"
    assert (outside / "file").read_bytes() == b"outside"


def test_lock_is_not_taken_on_a_file_outside(store: LocalStore, outside: Path) -> None:
    lock = store.root / ".npd-lock"
    lock.unlink(missing_ok=True)
    lock.symlink_to(outside / "made")
    with pytest.raises(PermanentStoreError):
        store.put("a/file", b"new")
    assert not (outside / "made").exists()


def test_folders_nested_deeper_than_the_stack_are_listed(store: LocalStore) -> None:
    depth = 1500  # levels; Python's stack has 1000
    folder = os.open(store.root, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=folder)
        below = os.open("d", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    os.close(os.open(".npd-tmp-left", os.O_CREAT, dir_fd=folder))
    os.close(os.open("deep", os.O_CREAT, dir_fd=folder))
    os.close(folder)
    try:
        assert [info.key for info in store.list("")] == ["a/file", "d/" * depth + "deep"]
        assert store.remove_leftovers(0) == 1
    finally:
        subprocess.run(["rm", "-rf", store.root / "d"], check=True)


def test_folder_that_is_replaced_by_a_link_after_its_check_is_not_followed(
    store: LocalStore, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def checked_then_replaced(root: str, path: Path) -> str:
        beneath = path_beneath(root, path)
        (store.root / "a").rename(store.root / "b")
        (store.root / "a").symlink_to(outside)
        return beneath

    monkeypatch.setattr("pipeline.storage.local.path_beneath", checked_then_replaced)
    with pytest.raises((PermanentStoreError, ObjectNotFoundError)):
        store.get("a/file")
