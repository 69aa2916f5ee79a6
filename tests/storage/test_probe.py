"""The probe accepts real stores, rejects one that ignores conditions, and leaves no objects."""

from pathlib import Path
from typing import ClassVar

import pytest

from pipeline.core.errors import PermanentStoreError
from pipeline.storage.local import LocalStore
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.open import open_store
from pipeline.storage.probe import probe
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


def test_store_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PermanentStoreError, match="cannot write"):
        probe(LocalStore(tmp_path / "file" / "store"))


def test_absent_bucket_is_refused(s3_env: None) -> None:
    with pytest.raises(PermanentStoreError, match="NoSuchBucket"):
        probe(open_store("s3://no-such-bucket/prefix"))
