"""Local store beyond the contract: crashes, other processes, and failing file systems."""

import errno
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.core.errors import PermanentStoreError
from pipeline.storage.durable import TEMP_PREFIX
from pipeline.storage.local import LocalStore
from tests.environments import FLOCK, in_fork, refuse_flock

# Puts 64 MB again and again until it is killed.
_WRITER = """
import sys
from pathlib import Path
from pipeline.storage.local import LocalStore
store, data = LocalStore(Path(sys.argv[1])), b"x" * (64 << 20)
print("ready", flush=True)
while True:
    store.put("big", data)
"""


def test_root_under_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    store = LocalStore(tmp_path / "file" / "store")
    for write in (store.put, store.put_if_absent):
        with pytest.raises(PermanentStoreError, match=r"file/store.*choose another output"):
            write("k", b"x")


def _put_without_flock(root: Path, code: int) -> str:
    refuse_flock(code)
    with pytest.raises(PermanentStoreError) as raised:
        LocalStore(root).put("k", b"x")
    return str(raised.value)


@pytest.mark.skipif(os.uname().machine not in FLOCK, reason="another number of the system call")
@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_root_without_flock_is_refused(tmp_path: Path, code: int) -> None:
    message = in_fork(_put_without_flock, tmp_path, code)
    assert "file locks (flock) do not work on this file system" in message
    assert "needs a file system with hard links and file locks" in message
    assert list(LocalStore(tmp_path).list("")) == []


def test_root_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"precious")
    store = LocalStore(tmp_path / "file")
    with pytest.raises(PermanentStoreError, match="is a file, not a folder"):
        store.put("k", b"x")
    with pytest.raises(PermanentStoreError, match="is a file, not a folder"):
        list(store.list(""))
    assert (tmp_path / "file").read_bytes() == b"precious"


@pytest.mark.skipif(
    not Path("/proc/self").is_dir(),
    reason="only Linux has a file system at hand that takes no file even from root: /proc",
)
def test_file_system_that_takes_no_files_is_refused() -> None:
    with pytest.raises(PermanentStoreError, match="cannot write /proc/self"):
        LocalStore(Path("/proc/self")).put("k", b"x")


def test_reading_an_absent_root_creates_nothing(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "typo")
    assert list(store.list("")) == []
    assert store.head("k") is None
    store.delete("k")
    assert not (tmp_path / "typo").exists()


def test_killed_writer_leaves_the_old_object_and_no_listed_file(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    command = [sys.executable, "-c", _WRITER, str(store.root)]
    left: list[Path] = []
    for _ in range(20):
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            while not list(store.root.glob(f"{TEMP_PREFIX}*")):
                assert writer.poll() is None
            os.kill(writer.pid, signal.SIGKILL)
        left = list(store.root.glob(f"{TEMP_PREFIX}*"))
        if left:
            break
    assert left, "no kill came in the middle of a write"
    complete = store.head("big")
    assert complete is None or complete.num_bytes == 64 << 20
    assert [info.key for info in store.list("")] == ([] if complete is None else ["big"])
    store.put("big", b"new")  # the lock died with its holder
    assert store.remove_leftovers(older_than_s=3600) == 0
    assert store.remove_leftovers(older_than_s=0) == len(left)
    assert store.get("big") == b"new"


def test_processes_swap_one_after_the_other(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put("counter", b"0 start")
    code = """
import os, sys
from pathlib import Path
from pipeline.storage.local import LocalStore
store = LocalStore(Path(sys.argv[1]))
for _ in range(20):
    while True:
        data, version = store.get_versioned("counter")
        new = b"%d %d" % (int(data.split()[0]) + 1, os.getpid())
        if store.put_if_version("counter", new, version):
            break
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    running = [subprocess.Popen(command) for _ in range(4)]
    assert [process.wait(timeout=300) for process in running] == [0, 0, 0, 0]
    assert store.get("counter").split()[0] == b"80"


def test_delete_beside_put_in_one_folder(tmp_path: Path) -> None:
    """Deleting the last object prunes its folder while others are about to write there."""
    store = LocalStore(tmp_path)

    def put_and_delete(number: int) -> None:
        for turn in range(30):
            assert store.put_if_absent(f"deep/er/{number}-{turn}", b"x")
            store.delete(f"deep/er/{number}-{turn}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put_and_delete, range(8)))
    assert list(store.list("")) == []
    assert not (tmp_path / "deep").exists()


def test_list_does_not_follow_links_to_folders(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put("a/b", b"x")
    (tmp_path / "a" / "circle").symlink_to(tmp_path)
    assert [info.key for info in store.list("")] == ["a/b"]
