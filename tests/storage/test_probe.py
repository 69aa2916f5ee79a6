"""The probe accepts real stores, rejects one that ignores conditions, and leaves no objects."""

from pathlib import Path
from typing import ClassVar

import pytest

from pipeline.core.errors import PermanentStoreError, RetryableStoreError, StoreFullError
from pipeline.storage.local import LocalStore
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.open import open_store
from pipeline.storage.probe import probe
from tests.environments import can_mount, in_fork, mount_memory
from tests.storage.faulty_servers import ForgetfulStore, serving


def test_probe_passes_and_leaves_nothing(store: ObjectStore) -> None:
    store.put("kept", b"x")
    probe(store)
    assert [info.key for info in store.list("")] == ["kept"]


def test_probe_leaves_no_folder(tmp_path: Path) -> None:
    probe(LocalStore(tmp_path))
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []


def test_store_that_ignores_if_none_match_is_refused(
    s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Forgetful(ForgetfulStore):
        """One with its objects, so that tests share none."""

        objects: ClassVar[dict[str, bytes]] = {}

    with serving(Forgetful) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        with pytest.raises(PermanentStoreError, match="ignores If-None-Match") as caught:
            probe(open_store(s3_url))
    assert s3_url in str(caught.value)
    assert "overwrite" in str(caught.value)
    assert Forgetful.objects == {}


def test_store_that_fails_at_a_second_write_is_named_as_such(
    s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Crashing(ForgetfulStore):
        """Answers 500 to the second write of a key, as local-s3-server 0.2.2 does."""

        objects: ClassVar[dict[str, bytes]] = {}

        def parse_request(self) -> bool:
            if not super().parse_request():
                return False
            if self.command == "PUT" and self._key in self.objects:
                self.rfile.read(int(self.headers["Content-Length"]))
                self._answer(500, b"")
                return False
            return True

    with serving(Crashing) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        with pytest.raises(RetryableStoreError) as raised:
            probe(open_store(s3_url))
    assert "it fails at replacing an object at its current version: cannot put" in str(raised.value)
    assert "infra/storage/README.md lists stores that can" in str(raised.value)


def test_store_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PermanentStoreError, match="cannot write"):
        probe(LocalStore(tmp_path / "file" / "store"))


def test_absent_bucket_is_refused(s3_env: None) -> None:
    with pytest.raises(PermanentStoreError, match="NoSuchBucket"):
        probe(open_store("s3://no-such-bucket/prefix"))


def _probe_in(folder: Path, num_bytes: int) -> str:
    mount_memory(folder, num_bytes)
    # Room for the first object of the probe, and for none beside it.
    (folder / "filling").write_bytes(b"x" * (num_bytes - 4096))
    with pytest.raises(StoreFullError) as raised:
        probe(LocalStore(folder))
    return str(raised.value)


def test_full_disk_is_reported_as_such(tmp_path: Path) -> None:
    if not can_mount(tmp_path):
        pytest.skip("this user may not mount a file system, even for one process alone")
    message = in_fork(_probe_in, tmp_path, 64 * 1024)
    assert "No space left on device" in message and "bytes free in" in message
    assert "cannot be built into" not in message
