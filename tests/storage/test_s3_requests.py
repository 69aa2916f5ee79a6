"""Counts of requests to S3, on a real server, on one that refuses, and without any."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from infra.storage.ports import free_ports
from pipeline.core.errors import ObjectNotFoundError, RetryableStoreError
from pipeline.storage.open import open_store
from pipeline.storage.s3 import S3Store
from pipeline.storage.s3_client import make_client
from pipeline.storage.s3_requests import Result, request_counts

ATTEMPTS = 3


def _counted(call: Callable[[], object]) -> tuple[Counter[Result], int]:
    """Return the attempts of a call by result, and its retries."""
    before, retries_before = request_counts()
    call()
    after, retries = request_counts()
    return Counter(after) - Counter(before), retries - retries_before


def test_requests_of_a_real_server_are_counted_by_result(s3_url: str) -> None:
    store = open_store(s3_url)
    assert _counted(lambda: store.put("a", b"1")) == ({Result.OK: 1}, 0)
    assert _counted(lambda: store.get("a")) == ({Result.OK: 1}, 0)

    def get_missing() -> None:
        with pytest.raises(ObjectNotFoundError):
            store.get("b")

    assert _counted(get_missing) == ({Result.REFUSED: 1}, 0)


@contextmanager
def _answering(status: int) -> Iterator[str]:
    """Yield the URL of a server that answers every request with ``status``."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the name is the protocol of http.server
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("status", "result"), [(503, Result.THROTTLED), (500, Result.SERVER_ERROR)]
)
def test_every_attempt_at_a_failing_server_is_counted(
    s3_env: None, monkeypatch: pytest.MonkeyPatch, status: int, result: Result
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", str(ATTEMPTS))
    with _answering(status) as url:
        assert _counted(partial(_fails, url)) == ({result: ATTEMPTS}, ATTEMPTS - 1)


def test_attempts_without_a_server_are_counted(
    s3_env: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", str(ATTEMPTS))
    (port,) = free_ports(1)
    attempts = _counted(partial(_fails, f"http://127.0.0.1:{port}"))
    assert attempts == ({Result.NO_REPLY: ATTEMPTS}, ATTEMPTS - 1)


def _fails(url: str) -> None:
    store = S3Store("bucket", connect=partial(make_client, endpoint_url=url))
    with pytest.raises(RetryableStoreError):
        store.get("a")
