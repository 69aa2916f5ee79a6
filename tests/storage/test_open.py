"""Mapping of URLs to stores."""

from pathlib import Path

import pytest

from pipeline.core.errors import UserError
from pipeline.storage.local import LocalStore
from pipeline.storage.open import open_store
from pipeline.storage.s3 import S3Store


@pytest.mark.parametrize(
    ("url", "root"),
    [
        ("file:///data/out", "/data/out"),
        ("file://localhost/data/out", "/data/out"),
        ("FILE:///data/out/", "/data/out"),
        ("file:///my%20data/a#b?c", "/my data/a#b?c"),
        ("/data/out", "/data/out"),
        ("/my data/100%", "/my data/100%"),
    ],
)
def test_folder_urls(url: str, root: str) -> None:
    store = open_store(url)
    assert isinstance(store, LocalStore)
    assert store.root == Path(root)
    again = open_store(store.url)
    assert isinstance(again, LocalStore)
    assert again.root == store.root


def test_bare_path_is_relative_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert open_store("out/demo").url == (tmp_path / "out" / "demo").as_uri()


@pytest.mark.parametrize(
    ("url", "bucket", "prefix"),
    [
        ("s3://bucket/a/b", "bucket", "a/b"),
        ("s3://bucket/a/b/", "bucket", "a/b"),
        ("s3://my.bucket-1", "my.bucket-1", ""),
        ("s3://bucket/", "bucket", ""),
        ("S3://bucket/ä b%20", "bucket", "ä b%20"),
    ],
)
def test_s3_urls(url: str, bucket: str, prefix: str) -> None:
    store = open_store(url)
    assert isinstance(store, S3Store)
    assert (store.bucket, store.prefix) == (bucket, prefix)
    assert store.url == f"s3://{bucket}/{prefix}".rstrip("/")


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            " ",
            "gs://bucket/x",
            "http://host/bucket",
            "file://relative/path",
            "file:/x",
            "s3:x",
        ),
        *("s3://", "s3:///x", "s3://UPPER/x", "s3://bucket/x?region=y", "s3://bucket/a//b"),
        *("s3://bucket/../x", "s3://key:secret@bucket/x", "file://"),
    ],
)
def test_other_urls_are_refused_with_the_allowed_forms(url: str) -> None:
    with pytest.raises(UserError, match=r"give file:///.*s3://bucket/prefix.*path") as caught:
        open_store(url)
    assert "secret" not in str(caught.value)
