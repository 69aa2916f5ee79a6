"""The contract of ObjectStore, against a folder and against a real S3 server."""

import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import compress
from pathlib import Path

import pytest

from pipeline.core.errors import ObjectNotFoundError, VerificationError
from pipeline.storage.object_store import ObjectInfo, ObjectStore
from pipeline.storage.open import open_store
from pipeline.storage.s3 import S3Store

NUM_THREADS = 16


def test_get_returns_what_was_put(store: ObjectStore) -> None:
    for data in (b"", b"x", bytes(range(256)) * 1000):
        store.put("a/b.bin", data)
        assert store.get("a/b.bin") == data


def test_absent_object_is_told_apart(store: ObjectStore) -> None:
    store.put("there", b"x")
    for read in (
        lambda: store.get("absent"),
        lambda: store.get_range("absent", 0, 1),
        lambda: store.get_versioned("absent"),
        lambda: store.get("there/below"),
    ):
        with pytest.raises(ObjectNotFoundError, match=store.url):
            read()
    assert store.head("absent") is None
    store.delete("absent")
    assert not store.put_if_version("absent", b"x", store.get_versioned("there")[1])


@pytest.mark.parametrize(
    ("start", "length", "expected"),
    [(0, 3, b"012"), (7, 3, b"789"), (8, 100, b"89"), (10, 1, b""), (99, 5, b""), (4, 0, b"")],
)
def test_range_is_cut_at_the_end(
    store: ObjectStore, start: int, length: int, expected: bytes
) -> None:
    store.put("k", b"0123456789")
    assert store.get_range("k", start, length) == expected


def test_object_that_is_larger_than_expected_is_rejected(store: ObjectStore) -> None:
    store.put("k", b"0123456789")
    assert store.get("k", 10) == b"0123456789"
    with pytest.raises(VerificationError, match=r"/k: damaged: it has more than 9 bytes"):
        store.get("k", 9)
    assert store.get_range("k", 8, 2) == b"89"


def test_head_tells_size_and_time(store: ObjectStore) -> None:
    store.put("k", b"12345")
    info = store.head("k")
    assert info is not None
    assert (info.key, info.num_bytes) == ("k", 5)
    assert abs(datetime.now(UTC) - info.modified) < timedelta(minutes=1)


def test_put_if_absent_first_write_stays(store: ObjectStore) -> None:
    assert store.put_if_absent("k", b"mine")
    assert not store.put_if_absent("k", b"other")
    assert not store.put_if_absent("k", b"four")
    assert store.put_if_absent("k", b"mine"), "identical bytes count as written"
    assert store.get("k") == b"mine"


def _race(store: ObjectStore, key: str) -> list[bytes]:
    """16 threads put different bytes of one length; return those of the threads that won."""
    barrier = threading.Barrier(NUM_THREADS)

    def won(data: bytes) -> bool:
        barrier.wait()
        return store.put_if_absent(key, data)

    writers = [b"writer %02d" % number for number in range(NUM_THREADS)]
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        return list(compress(writers, pool.map(won, writers)))


def test_put_if_absent_race_has_one_winner(store: ObjectStore) -> None:
    for number in range(1 if isinstance(store, S3Store) else 20):  # SeaweedFS takes 2 s for one
        winners = _race(store, f"race/{number}")
        assert winners == [store.get(f"race/{number}")]


def test_put_if_version_refuses_stale(store: ObjectStore) -> None:
    store.put("k", b"one")
    data, version = store.get_versioned("k")
    assert data == b"one"
    assert store.put_if_version("k", b"two", version)
    assert not store.put_if_version("k", b"three", version)
    assert store.get("k") == b"two"


def test_put_if_version_race_loses_no_increment(store: ObjectStore) -> None:
    store.put("counter", b"0 start")

    def increment(name: str) -> None:
        while True:
            data, version = store.get_versioned("counter")
            # The name makes each write distinct: identical bytes would count as written.
            new = b"%d %s" % (int(data.split()[0]) + 1, name.encode())
            if store.put_if_version("counter", new, version):
                return

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(increment, map(str, range(16))))
    assert store.get("counter").split()[0] == b"16"


def test_object_that_changes_its_size_while_a_refusal_is_settled(
    s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(s3_url)
    assert isinstance(store, S3Store)
    store.put("counter", b"old")
    _, version = store.get_versioned("counter")
    store.put("counter", b"one")  # another writer, with as many bytes as ours
    head = S3Store.head

    def replaced_after_head(self: S3Store, key: str) -> ObjectInfo | None:
        found = head(self, key)
        store.put("counter", b"another")
        return found

    monkeypatch.setattr(S3Store, "head", replaced_after_head)
    assert store.put_if_version("counter", b"two", version) is False
    assert store.get("counter") == b"another"


def test_list_is_sorted_by_code_points(store: ObjectStore) -> None:
    keys = ["a/b", "a-b", "a0", "B", "é", "z", "a/ü", "a/b1", "a/c d+e%41", "😀"]
    for key in keys:
        store.put(key, key.encode())
    assert [info.key for info in store.list("")] == sorted(keys)
    assert [info.key for info in store.list("a/")] == sorted(k for k in keys if k.startswith("a/"))
    assert [info.key for info in store.list("a/b")] == ["a/b", "a/b1"]
    assert [info.key for info in store.list("a")] == sorted(k for k in keys if k.startswith("a"))
    assert [info.key for info in store.list("nothing/here")] == []
    assert [info.num_bytes for info in store.list("é")] == [2]
    assert store.get("a/c d+e%41") == b"a/c d+e%41"


def test_list_goes_on_past_one_page(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.storage.s3.PAGE_KEYS", 10)
    bucket, _, prefix = s3_url.removeprefix("s3://").partition("/")
    store = S3Store(bucket, prefix)
    keys = [f"many/{number:05d}" for number in range(35)]
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        list(pool.map(lambda key: store.put(key, b""), keys))
    assert [info.key for info in store.list("many/")] == keys


def test_delete_removes_one_object(store: ObjectStore) -> None:
    store.put("a/b/c", b"1")
    store.put("a/d", b"2")
    store.delete("a/b/c")
    assert [info.key for info in store.list("")] == ["a/d"]
    assert store.put_if_absent("a/b/c", b"3")


@pytest.mark.parametrize(
    "key", ["", "/a", "a/", "a//b", "../a", "a/../b", "./a", "a\\b", "a\nb", "x" * 256, ".npd-x"]
)
def test_bad_key_is_refused(store: ObjectStore, key: str) -> None:
    with pytest.raises(ValueError, match="key"):
        store.put(key, b"")
    with pytest.raises(ValueError, match="key"):
        store.get(key)


def test_file_goes_in_and_out(store: ObjectStore, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"shard" * 2_000_000)
    assert store.put_file_if_absent("k", source)
    assert store.put_file_if_absent("k", source), "identical bytes count as written"
    assert store.get("k") == source.read_bytes()
    source.write_bytes(b"drahs" * 2_000_000)
    assert not store.put_file_if_absent("k", source)
    assert store.get("k") == b"shard" * 2_000_000
    with pytest.raises(FileNotFoundError):
        store.put_file_if_absent("other", tmp_path / "absent")


def test_parts_make_the_object_and_keep_the_condition(s3_url: str, tmp_path: Path) -> None:
    bucket, _, prefix = s3_url.removeprefix("s3://").partition("/")
    store = S3Store(bucket, prefix, multipart_bytes=0)
    source = tmp_path / "source"
    source.write_bytes(b"0123456789abcdef" * (40 * 65536) + b"end")  # 40 MiB and 3 bytes: 3 parts
    assert store.put_file_if_absent("big", source)
    assert store.get("big") == source.read_bytes()
    assert not store.put_if_absent("big", b"other")
    assert store.put_if_absent("big", source.read_bytes())
    assert store.put_if_absent("empty", b"")
    assert store.get("empty") == b""
    # Racing completions of *different* bytes are not tested: SeaweedFS 4.48 lets several through.
    # What the pipeline writes in parts is named by its content, and for that any order is right.
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda _: store.put_if_absent("same", b"bytes" * 1000), range(4)))
    assert store.get("same") == b"bytes" * 1000
    left = store.client.list_multipart_uploads(Bucket=bucket, Prefix=prefix).get("Uploads", [])
    assert left == [], "a refused upload must be aborted"


def test_store_works_in_another_process(store: ObjectStore) -> None:
    store.put("k", b"from here")  # a client is open when the store is pickled
    code = "import pickle, sys; s = pickle.load(sys.stdin.buffer); s.put('k2', s.get('k'))"
    subprocess.run([sys.executable, "-c", code], input=pickle.dumps(store), check=True, timeout=60)
    assert store.get("k2") == b"from here"
