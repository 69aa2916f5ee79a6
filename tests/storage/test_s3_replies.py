"""A server that lies, sends without end or answers with another page gives an error in time."""

from collections.abc import Callable

import pytest

from pipeline.core.errors import NPDError, StoreError, VerificationError
from pipeline.storage import s3_replies
from pipeline.storage.open import open_store
from pipeline.storage.s3 import S3Store
from tests.peak_memory import peak_memory_below
from tests.storage.lying_servers import (
    Lie,
    Reply,
    endless,
    entry,
    head,
    lying,
    new_pages,
    page,
    with_length,
)

NO_BODY = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx"
LOGIN = b"<html><body>Log in to this network</body></html>"
LAUGHS = b"".join(b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(9))
LAUGHTER = b'<!DOCTYPE l [<!ENTITY a "haha">%s]><ListBucketResult>&j;</ListBucketResult>' % LAUGHS
HUGE = 2**40

Call = Callable[[S3Store], object]


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> S3Store:
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        monkeypatch.setenv(f"AWS_{name}", "x")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    store = open_store("s3://bucket/p")
    assert isinstance(store, S3Store)
    return S3Store(store.bucket, store.prefix, pause=lambda attempt: None)


def _get(store: S3Store) -> object:
    return store.get("k", 1000)


def _range(store: S3Store) -> object:
    return store.get_range("k", 4, 2)


def _head(store: S3Store) -> object:
    return store.head("k")


def _put(store: S3Store) -> object:
    return store.put_if_absent("k", b"x")


def _upload(store: S3Store) -> object:
    return store.with_multipart_bytes(0).put_if_absent("k", b"x")


def _list(store: S3Store) -> object:
    return [*store.list("")]


def always(make: Callable[[], Reply]) -> Lie:
    return lambda method, query, headers: make()


def listing(*entries: str) -> Lie:
    return always(lambda: with_length(page("".join(entries))))


LIES: dict[str, tuple[Lie, Call, str]] = {
    "body without end": (always(endless), _get, "ContentLength"),
    "large body": (always(lambda: endless(b"", status="200 OK")), _range, "bytes from 4"),
    "length of a terabyte": (
        always(lambda: iter([head(Content_Length=HUGE), b"x" * 5000])),
        _get,
        "p/k: damaged: it has more than 1,000 bytes",
    ),
    "shorter body": (always(lambda: iter([head(Content_Length=99), b"x"])), _get, "stream"),
    "length that is no number": (always(lambda: iter([head(Content_Length="x")])), _get, "'x'"),
    "negative length": (always(lambda: iter([head(Content_Length=-5)])), _head, "-5 bytes"),
    "no ETag": (always(lambda: iter([NO_BODY])), _get, "ETag"),
    "no time": (always(lambda: iter([NO_BODY])), _head, "LastModified"),
    "time that is none": (always(lambda: iter([head(Last_Modified="x")])), _head, "timestamp"),
    "range ignored": (always(lambda: with_length(b"0123456789")), _range, "it sent all bytes"),
    "another range": (
        always(
            lambda: with_length(b"01", status="206 Partial", Content_Range="bytes 0-1/10"),
        ),
        _range,
        "it sent bytes 0-1/10",
    ),
    "longer range": (
        always(
            lambda: with_length(b"4567", status="206 Partial", Content_Range="bytes 4-7/10"),
        ),
        _range,
        "2 bytes were requested, it sends more",
    ),
    "redirection": (
        always(lambda: with_length(b"", status="307 Moved", Location="http://127.0.0.1:1/")),
        _get,
        "redirects without end",
    ),
    "another protocol": (always(lambda: iter([b"SSH-2.0-server\r\n"])), _get, "Connection"),
    "headers without end": (
        always(lambda: iter([b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 10_000])),
        _get,
        "Connection",
    ),
    "error without end": (
        always(lambda: endless(b"<Error>", status="400 Bad")),
        _get,
        "more than 16,777,216 bytes",
    ),
    "error with control characters": (
        always(
            lambda: with_length(
                b"<Error><Code>&#x9b;31m</Code><Message>&#x202e;</Message></Error>",
                status="400 Bad",
            )
        ),
        _get,
        r"\\x9b31m",
    ),
    "put answered by a page": (
        always(lambda: with_length(LOGIN, ETag="")),
        _put,
        "it sent no ETag",
    ),
    "upload answered by a page": (always(lambda: with_length(LOGIN)), _upload, "UploadId"),
    "listing answered by a page": (always(lambda: with_length(LOGIN)), _list, "no listing"),
    "empty listing": (always(lambda: with_length(b"")), _list, "no listing"),
    "entities that grow": (always(lambda: with_length(LAUGHTER)), _list, "500"),
    "elements within elements": (
        always(lambda: with_length(b"<a>" * 100_000 + b"</a>" * 100_000)),
        _list,
        "no listing",
    ),
    "page without end": (
        always(lambda: endless(b"<ListBucketResult>")),
        _list,
        "more than 16,777,216 bytes",
    ),
    "pages without objects": (new_pages(lambda number: ""), _list, "does not end"),
    "one page again and again": (new_pages(lambda number: entry("p/a")), _list, "repeats"),
    "one token again and again": (
        always(lambda: with_length(page("", "token"))),
        _list,
        "same next token",
    ),
    "pages without end": (new_pages(lambda number: entry(f"p/{number}")), _list, "does not end"),
    "size that is no number": (listing(entry("p/a", "many")), _list, "many"),
    "size of many digits": (listing(entry("p/a", "9" * 5000)), _list, "digits"),
    "negative size": (listing(entry("p/a", -1)), _list, "-1 bytes"),
    "size beyond all numbers": (listing(entry("p/a", 10**30)), _list, "bytes"),
    "no size": (listing("<Contents><Key>p/a</Key></Contents>"), _list, "Size"),
    "time without a zone": (
        listing(entry("p/a", 1, "2026-11-22T20:22:01")),
        _list,
        "last written",
    ),
    "keys of another prefix": (listing(entry("other/a")), _list, "holds 'other/a'"),
}


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("lie", "call", "message"), LIES.values(), ids=LIES.keys())
def test_lie_is_an_error_that_names_it_and_takes_little_memory(
    s3: S3Store, monkeypatch: pytest.MonkeyPatch, lie: Lie, call: Call, message: str
) -> None:
    monkeypatch.setattr(s3_replies, "MAX_LISTED", 50)
    monkeypatch.setattr(s3_replies, "MAX_EMPTY_PAGES", 20)
    with lying(lie) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        with peak_memory_below(200_000_000), pytest.raises(NPDError, match=message) as caught:
            call(s3)
    assert isinstance(caught.value, StoreError | VerificationError)
    assert "s3://bucket/p" in str(caught.value)


def test_no_request_follows_a_redirection_to_another_host(
    s3: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    with lying(always(lambda: with_length(b"secrets")), asked) as other:
        moved = always(lambda: with_length(b"", status="307 Moved", Location=f"{other}/b/k"))
        with lying(moved) as url:
            monkeypatch.setenv("AWS_ENDPOINT_URL", url)
            with pytest.raises(StoreError):
                s3.get("k")
    assert asked == []


def test_range_that_is_the_complete_object_may_come_without_its_position(
    s3: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lying(always(lambda: with_length(b"01"))) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        assert s3.get_range("k", 0, 2) == b"01"


def test_keys_that_no_store_accepts_are_listed(
    s3: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = ["../x", "a\x1b[31m", "b" * 5000]
    entries = (entry(f"p/{key}".replace("\x1b", "%1B")) for key in keys)
    with lying(listing(*entries, "<EncodingType>url</EncodingType>")) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        assert [info.key for info in s3.list("")] == keys
