"""S3 failures raise the right error with cause, place and remedy, or are recovered from."""

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from infra.storage.seaweedfs import SeaweedFS
from pipeline.core.errors import PermanentStoreError, RetryableStoreError
from pipeline.storage.open import open_store
from pipeline.storage.s3 import S3Store
from tests.storage.faulty_servers import BusyStore, CutsContinue, LosesReplies, serving


@pytest.fixture
def lossy(
    s3_server: SeaweedFS, s3_env: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[LosesReplies]:
    proxy = LosesReplies(s3_server.endpoint_url)
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    yield proxy
    proxy.close()


@pytest.fixture
def s3(s3_url: str) -> S3Store:
    bucket, _, prefix = s3_url.removeprefix("s3://").partition("/")
    return S3Store(bucket, prefix)


@pytest.mark.parametrize(
    ("variable", "setting", "message"),
    [
        ("AWS_ACCESS_KEY_ID", "nobody", "InvalidAccessKeyId.*AWS_ACCESS_KEY_ID"),
        ("AWS_SECRET_ACCESS_KEY", "wrong", "SignatureDoesNotMatch.*AWS_SECRET_ACCESS_KEY"),
        ("AWS_PROFILE", "no-such-profile", "no-such-profile.*AWS_PROFILE"),
        ("AWS_ENDPOINT_URL", "not a url", "endpoint is not a URL.*check the AWS_"),
        ("AWS_ENDPOINT_URL", "http://u:p@host:1", "endpoint at host:1 is given with user info"),
        ("AWS_ENDPOINT_URL", "http://host:1/?a=b", "endpoint at host:1 is given with.*a query"),
        ("AWS_SESSION_TOKEN", "token\n", "AWS_SESSION_TOKEN holds.*a line break"),
    ],
)
def test_wrong_setting_is_permanent_and_named(
    s3: S3Store, monkeypatch: pytest.MonkeyPatch, variable: str, setting: str, message: str
) -> None:
    monkeypatch.setenv(variable, setting)
    with pytest.raises(PermanentStoreError, match=message) as caught:
        s3.put_if_absent("k", b"x")
    assert s3.url in str(caught.value)


def test_no_credentials_is_permanent(s3: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(PermanentStoreError, match="AWS_ACCESS_KEY_ID"):
        s3.get("k")


def test_absent_bucket_is_permanent_and_named(s3_env: None) -> None:
    store = open_store("s3://no-such-bucket/prefix")
    for call in (lambda: store.put("k", b"x"), lambda: store.get("k"), lambda: [*store.list("")]):
        with pytest.raises(PermanentStoreError, match=r"no-such-bucket.*NoSuchBucket.*create"):
            call()


def test_unreachable_endpoint_is_retryable_and_named(
    s3: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    with pytest.raises(RetryableStoreError, match=rf"127.0.0.1:{port}.*AWS_ENDPOINT_URL"):
        s3.put_if_absent("k", b"x")


def _busy(num_refusals: int) -> type[BusyStore]:
    state = {"refusals_left": [503] * num_refusals, "num_requests": [], "objects": {}}
    return type("Busy", (BusyStore,), state)


def test_busy_store_is_tried_again(s3: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(_busy(2)) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        assert s3.put_if_absent("k", b"x")
        assert s3.get("k") == b"x"


def test_store_that_stays_busy_is_retryable(s3: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "3")
    handler = _busy(1000)
    with serving(handler) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        with pytest.raises(RetryableStoreError, match=r"SlowDown \(503\)"):
            s3.put("k", b"x")
    assert len(handler.num_requests) == 3


def test_lost_reply_put_if_absent_is_true(lossy: LosesReplies, s3: S3Store) -> None:
    lossy.lose(b"PUT ", 1)
    assert s3.put_if_absent("k", b"mine"), (
        "the retry was refused because its first try had succeeded"
    )
    assert lossy.num_lost == 1
    assert not s3.put_if_absent("k", b"other")


def test_all_replies_lost_put_if_absent_is_true(
    lossy: LosesReplies, s3: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    lossy.lose(b"PUT ", 2)
    assert s3.put_if_absent("k", b"mine")
    assert lossy.num_lost == 2


def test_lost_reply_put_if_absent_of_taken_key_is_false(lossy: LosesReplies, s3: S3Store) -> None:
    s3.put("k", b"first")
    lossy.lose(b"PUT ", 1)
    assert not s3.put_if_absent("k", b"other")
    assert s3.get("k") == b"first"


def test_lost_reply_put_if_version_is_true(lossy: LosesReplies, s3: S3Store) -> None:
    s3.put("k", b"one")
    _, version = s3.get_versioned("k")
    lossy.lose(b"PUT ", 1)
    assert s3.put_if_version("k", b"two", version)
    assert lossy.num_lost == 1


def test_lost_reply_completion_of_parts_is_true(lossy: LosesReplies, s3: S3Store) -> None:
    in_parts = s3.with_multipart_bytes(0)
    lossy.lose(b"POST ", 1, containing=b"uploadId=")
    assert in_parts.put_if_absent("k", b"mine")
    assert lossy.num_lost == 1
    assert s3.get("k") == b"mine"


def test_body_that_breaks_off_is_read_again(lossy: LosesReplies, s3: S3Store) -> None:
    data = b"0123456789" * 100_000
    s3.put("k", data)
    lossy.cut_after(50_000)
    assert s3.get("k") == data
    assert lossy.num_lost == 1


def test_killed_server_loses_nothing_and_is_waited_for(
    tmp_path_factory: pytest.TempPathFactory, s3_env: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    with SeaweedFS(tmp_path_factory.mktemp("seaweedfs")) as server:
        server.create_bucket("fault-tests")
        for name, setting in server.env().items():
            monkeypatch.setenv(name, setting)
        store = open_store("s3://fault-tests/p")
        assert store.put_if_absent("k", b"x")
        server.kill()
        with pytest.raises(RetryableStoreError):
            store.get("k")
        server.restart()
        assert store.get("k") == b"x"
        assert not store.put_if_absent("k", b"y")


@pytest.mark.timeout(60)
def test_connection_that_ends_within_100_continue_does_not_hang_the_client(
    s3_server: SeaweedFS, s3_env: None, s3: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(CutsContinue(s3_server.endpoint_url)) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        assert s3.put_if_absent("k", b"mine")
        s3.put("empty", b"")
        assert s3.get("k") == b"mine"
