"""Notifications of a build, sent to a real HTTP server."""

import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from pipeline.config.notify import NotifyConfig
from pipeline.config.sections import Config
from pipeline.core.errors import BuildError, BuildStoppedError
from pipeline.monitor.alarms import Event
from pipeline.monitor.build_monitor import BuildMonitor
from pipeline.monitor.notify import Notifier, notifier_of
from pipeline.monitor.progress import BuildProgress
from pipeline.storage.heartbeats import Phase, put_heartbeat, read_heartbeats
from pipeline.storage.local import LocalStore
from pipeline.storage.manifest import Funnel
from pipeline.workflows.plan import make_plan
from tests.heartbeats import heartbeat
from tests.sealed import SETTINGS, write_config

FUNNEL = Funnel(candidates=8, kept=6, rejected={"reward:scene": 2}, failed={}, truncated=0)
FACTS = {"plan_id": "0123456789abcdef", "store": "s3://bucket/npd", "host": "node-1"}
DEADLINE_S = 60.0


class Server:
    """An HTTP server that records what it receives and answers with ``status``."""

    def __init__(self) -> None:
        self.received: list[tuple[str, dict[str, Any]]] = []
        self.status = 200
        self.location = ""
        self.release = threading.Event()
        """Replies wait for this."""
        self.release.set()
        self.arrived = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.received.append((self.path, json.loads(body)))
                outer.arrived.set()
                outer.release.wait(DEADLINE_S)
                self.send_response(outer.status)
                if outer.location:
                    self.send_header("Location", outer.location)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook/secret-token"

    @contextmanager
    def running(self) -> Iterator["Server"]:
        """Serve in a thread."""
        thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        yield self
        self.release.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    with Server().running() as server:
        yield server


def _config(config: Config, **notify: Any) -> Config:
    return config.model_copy(update={"notify": NotifyConfig(**notify)})


@pytest.fixture
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return write_config(tmp_path_factory.mktemp("config"), SETTINGS)


def test_sealed_build_sends_its_counts_and_deletes_all_heartbeats(
    server: Server, config: Config, tmp_path: Any
) -> None:
    store = LocalStore(tmp_path / "set")
    killed = heartbeat(plan_id="plan", build_id="0d" * 16)
    put_heartbeat(store, killed)
    monitored = BuildMonitor(store, "plan", _config(config, url=server.url), BuildProgress())
    with monitored as monitor:
        monitor.seal()
        monitor.sealed(FUNNEL)
    ((path, message),) = server.received
    assert path == "/hook/secret-token"
    assert message["event"] == "sealed" and message["plan_id"] == "plan"
    assert (message["kept"], message["candidates"]) == (6, 8)
    assert "6 of 8 candidates are kept (75.0%)" in message["text"]
    assert list(store.list("")) == []


@pytest.mark.parametrize(
    ("error", "event", "phase"),
    [
        (BuildStoppedError("stopped on request"), "stopped", Phase.STOPPED),
        (KeyboardInterrupt(), "stopped", Phase.STOPPED),
        (BuildError("unit 3 failed"), "failed", Phase.FAILED),
        (RuntimeError("password=hunter2"), "failed", Phase.FAILED),
    ],
)
def test_build_that_ends_early_sends_and_leaves_its_reason(
    server: Server,
    config: Config,
    tmp_path: Any,
    error: BaseException,
    event: str,
    phase: Phase,
) -> None:
    store = LocalStore(tmp_path / "set")
    with (
        pytest.raises(type(error)),
        BuildMonitor(store, "plan", _config(config, url=server.url), BuildProgress()),
    ):
        raise error
    ((_, message),) = server.received
    assert message["event"] == event and "hunter2" not in message["text"]
    (left,) = read_heartbeats(store, "plan")
    assert left.heartbeat.phase is phase
    assert left.heartbeat.error != "password=hunter2"
    if isinstance(error, BuildError) and event == "failed":
        assert left.heartbeat.error == "unit 3 failed" and "unit 3 failed" in message["text"]


def test_build_that_fails_repeatedly_sends_it_once(
    server: Server, config: Config, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.monitor.build_monitor._CHECK_S", 0.01)
    progress = BuildProgress(failures_in_a_row=5)
    store = LocalStore(tmp_path / "set")
    with BuildMonitor(store, "plan", _config(config, url=server.url), progress) as monitor:
        assert server.arrived.wait(DEADLINE_S)
        monitor.sealed(FUNNEL)
    assert [message["event"] for _, message in server.received] == ["failing", "sealed"]


def test_events_that_are_not_asked_for_are_not_sent(
    server: Server, config: Config, tmp_path: Any
) -> None:
    notify = {"url": server.url, "events": ["failing"]}
    store = LocalStore(tmp_path / "set")
    with BuildMonitor(store, "plan", _config(config, **notify), BuildProgress()) as monitor:
        monitor.sealed(FUNNEL)
    assert server.received == []


@pytest.mark.parametrize("status", [404, 500, 302, 307])
def test_server_that_refuses_is_one_warning_without_the_secret(
    server: Server, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    server.status = status
    with Server().running() as elsewhere:
        server.location = elsewhere.url if status in (302, 307) else ""
        notifier = Notifier(server.url, NotifyConfig(), FACTS)
        for _ in range(3):
            notifier.send(Event(name="sealed", text="done"))
        notifier.close()
        assert len(server.received) == 3
        # Neither the message nor the secret goes to another place.
        assert elsewhere.received == []
    (warning,) = caplog.records
    assert str(status) in warning.message and "secret-token" not in warning.message


def test_server_that_does_not_answer_delays_nothing(
    server: Server, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.monitor.notify._CLOSE_S", 0.01)
    server.release.clear()
    notifier = Notifier(server.url, NotifyConfig(), FACTS)
    notifier.send(Event(name="sealed", text="first"))
    assert server.arrived.wait(DEADLINE_S)
    for _ in range(100):
        notifier.send(Event(name="sealed", text="next"))
    notifier.close()
    (warning,) = caplog.records
    assert "too many events" in warning.message
    assert len(server.received) == 1


def test_nothing_listens(caplog: pytest.LogCaptureFixture) -> None:
    with Server().running() as gone:
        url = gone.url
    notifier = Notifier(url, NotifyConfig(), FACTS)
    notifier.send(Event(name="sealed", text="done"))
    notifier.close()
    (warning,) = caplog.records
    assert "sent to 127.0.0.1 (ConnectionRefusedError: Connection refused)" in warning.message


def test_text_from_data_is_escaped_and_limited(server: Server) -> None:
    notifier = Notifier(server.url, NotifyConfig(), FACTS)
    notifier.send(Event(name="failed", text="<!channel> a & b\x1b[2J\n" + "x" * 10_000))
    notifier.close()
    ((_, message),) = server.received
    assert message["text"].startswith("failed: &lt;!channel&gt; a &amp; b\\x1b[2J\\n")
    assert message["text"].endswith("(plan 0123456789abcdef in s3://bucket/npd, from node-1)")
    assert len(message["text"]) < 1200


def test_url_of_the_environment(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = NotifyConfig(url_env="HOOK")
    for value in (None, "", "not a url", "file:///etc/passwd"):
        monkeypatch.delenv("HOOK", raising=False)
        if value is not None:
            monkeypatch.setenv("HOOK", value)
        assert notifier_of(config, "plan", "s3://b") is None
    assert {record.levelno for record in caplog.records} == {logging.WARNING}
    assert "passwd" not in caplog.text
    monkeypatch.setenv("HOOK", server.url)
    notifier = notifier_of(config, "plan", "s3://b")
    assert notifier is not None
    notifier.send(Event(name="sealed", text="done"))
    notifier.close()
    assert len(server.received) == 1
    assert notifier_of(NotifyConfig(), "plan", "s3://b") is None


@pytest.mark.parametrize(
    "notify",
    [
        {"url": "ftp://host/secret"},
        {"url": "host/secret"},
        {"url": "https://host/secret", "url_env": "HOOK"},
        {"url_env": "$HOOK"},
    ],
)
def test_setting_that_is_no_url_is_rejected_without_repeating_it(notify: dict[str, str]) -> None:
    with pytest.raises(ValueError) as raised:
        NotifyConfig(**notify)  # type: ignore[arg-type]  # checked at run time
    messages = [each["msg"] for each in raised.value.errors()]  # type: ignore[attr-defined]
    assert messages and "secret" not in str(messages)


def test_notifications_are_no_part_of_a_plan(config: Config) -> None:
    plan, _ = make_plan(config)
    other, _ = make_plan(_config(config, url="https://host/x", after_failures=1))
    assert plan == other
