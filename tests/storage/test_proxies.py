"""An error about a proxy names the variable that sets it."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from huggingface_hub import constants

from pipeline.core.errors import PermanentStoreError, RetryableStoreError, StoreError
from pipeline.models.source import hub_proxy_note
from pipeline.storage.open import open_store
from pipeline.storage.proxies import proxy_note, proxy_variable

PLAIN, SECURE = "http://store.example:9000", "https://store.example"


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("set_to", "url", "expected"),
    [
        ({"HTTP_PROXY": "p:1"}, PLAIN, "HTTP_PROXY"),
        ({"HTTP_PROXY": "p:1"}, SECURE, None),
        ({"HTTPS_PROXY": "p:1"}, PLAIN, None),
        ({"https_proxy": "p:1", "HTTPS_PROXY": "q:1"}, SECURE, "https_proxy"),
        ({"Http_Proxy": "p:1"}, PLAIN, "Http_Proxy"),
        ({"HTTP_PROXY": "p:1", "http_proxy": ""}, PLAIN, None),
        ({"HTTP_PROXY": "p:1", "NO_PROXY": ".example"}, PLAIN, None),
        ({"HTTP_PROXY": "p:1", "no_proxy": "other", "NO_PROXY": ".example"}, PLAIN, "HTTP_PROXY"),
        ({"ALL_PROXY": "p:1"}, SECURE, None),
        ({}, "an endpoint not yet known", None),
    ],
)
def test_variable_that_applies_is_found(
    set_to: dict[str, str], url: str, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in set_to.items():
        monkeypatch.setenv(name, value)
    assert proxy_variable(url) == expected


def test_exceptions_are_named_as_they_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "p:1")
    assert "add store.example to NO_PROXY" in proxy_note(PLAIN)
    monkeypatch.setenv("no_proxy", "other")
    assert "add store.example to no_proxy" in proxy_note(PLAIN)


def test_hub_also_uses_the_proxy_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "https://hub.example")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert hub_proxy_note() == ""
    monkeypatch.setenv("all_proxy", "p:1")
    assert "the proxy of all_proxy" in hub_proxy_note()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert hub_proxy_note() == ""


class _WantsPassword(BaseHTTPRequestHandler):
    """A proxy that lets only registered users through."""

    def do_GET(self) -> None:
        self.send_error(407)

    def do_CONNECT(self) -> None:
        self.send_error(407)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def _proxy() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _WantsPassword) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def _error(monkeypatch: pytest.MonkeyPatch, endpoint: str, proxies: dict[str, str]) -> StoreError:
    env = {"AWS_ENDPOINT_URL": endpoint, "AWS_MAX_ATTEMPTS": "1", **proxies}
    env |= {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StoreError) as raised:
        open_store("s3://bucket/prefix").get("key")
    return raised.value


@pytest.mark.parametrize(("endpoint", "name"), [(PLAIN, "HTTP_PROXY"), (SECURE, "https_proxy")])
def test_dead_proxy_is_named(endpoint: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    error = _error(monkeypatch, endpoint, {name: "http://u:canary@127.0.0.1:1"})
    assert isinstance(error, RetryableStoreError)
    assert f"the proxy of {name} cannot be reached; correct {name}" in str(error)
    assert "canary" not in str(error)


def test_proxy_that_wants_a_password_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with _proxy() as url:
        error = _error(monkeypatch, PLAIN, {"HTTP_PROXY": url})
        assert isinstance(error, PermanentStoreError)
        assert "the proxy of HTTP_PROXY requires user and password" in str(error)
        error = _error(monkeypatch, SECURE, {"HTTPS_PROXY": url})
        assert "the proxy of HTTPS_PROXY refused the connection (407)" in str(error)
