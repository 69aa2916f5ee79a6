"""No secret is in the output of commands, in tracebacks, or in errors from Ray workers."""

import os
import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import ray
from ray.exceptions import RayTaskError

from infra.storage.seaweedfs import SeaweedFS
from pipeline.cli.app import main
from pipeline.core.errors import NPDError
from tests import sealed
from tests.conftest import BUCKET
from tests.secrets.canaries import Canaries, canary
from tests.secrets.store_calls import call_store, call_store_with

PASSWORD, SIGNATURE = canary("password"), canary("signature")
SECRET, TOKEN = canary("secret"), canary("token")
KEY = canary("key").replace("/", "").replace("+", "")  # an access key has only letters and digits


@dataclass(frozen=True)
class Trouble:
    """Settings with which a command fails, and a part of its message."""

    message: str
    env: dict[str, str] = field(default_factory=dict)
    url: str = f"s3://{BUCKET}/prefix"


@pytest.fixture(scope="module")
def closed_port() -> str:
    """``127.0.0.1:<port>`` of a port that is closed."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"127.0.0.1:{listener.getsockname()[1]}"


TROUBLES: dict[str, Callable[[str, str], Trouble]] = {
    "unknown key": lambda _, __: Trouble(
        "InvalidAccessKeyId", {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    ),
    "wrong secret": lambda _, __: Trouble(
        "SignatureDoesNotMatch", {"AWS_SECRET_ACCESS_KEY": SECRET}
    ),
    "unneeded session token": lambda _, __: Trouble("", {"AWS_SESSION_TOKEN": TOKEN}),
    "missing bucket": lambda _, __: Trouble("NoSuchBucket", url="s3://no-such-bucket/prefix"),
    "unreachable": lambda _, closed: Trouble(
        "does not answer", {"AWS_ENDPOINT_URL": f"http://{closed}"}
    ),
    "password in the endpoint": lambda server, _: Trouble(
        "user info", {"AWS_ENDPOINT_URL": f"http://{KEY}:{PASSWORD}@{server}"}
    ),
    "signed endpoint": lambda server, _: Trouble(
        "a query", {"AWS_ENDPOINT_URL": f"http://{server}/?X-Amz-Signature={SIGNATURE}"}
    ),
    "endpoint that is no URL": lambda _, __: Trouble(
        "not a URL", {"AWS_ENDPOINT_URL": f"{KEY}:{PASSWORD}@host name"}
    ),
    "token with a line break": lambda _, __: Trouble(
        "AWS_SESSION_TOKEN", {"AWS_SESSION_TOKEN": f"{TOKEN}\n"}
    ),
    "secret with a line break": lambda _, __: Trouble(
        "AWS_SECRET_ACCESS_KEY", {"AWS_SECRET_ACCESS_KEY": f"{SECRET}\n"}
    ),
    "password of a proxy": lambda _, closed: Trouble(
        "proxy", {"HTTP_PROXY": f"http://u:{PASSWORD}@{closed}", "NO_PROXY": ""}
    ),
    "password of a proxy of another kind": lambda _, closed: Trouble(
        "proxy", {"HTTP_PROXY": f"socks5://u:{PASSWORD}@{closed}", "NO_PROXY": ""}
    ),
    "credentials in the URL": lambda _, __: Trouble(
        "holds no credentials", url=f"s3://{KEY}:{SECRET}@{BUCKET}/prefix"
    ),
    "signed URL": lambda _, __: Trouble(
        "no query", url=f"s3://{BUCKET}/prefix?X-Amz-Signature={SIGNATURE}"
    ),
    "signed URL of no bucket": lambda _, __: Trouble(
        "no valid bucket", url=f"s3://B?X-Amz-Signature={SIGNATURE}"
    ),
    "password in another URL": lambda _, __: Trouble(
        "no store for https", url=f"https://u:{PASSWORD}@host/b?X-Amz-Signature={SIGNATURE}"
    ),
    "password in a file URL": lambda _, __: Trouble(
        "not a file URL", url=f"file://u:{PASSWORD}@host/b"
    ),
}


@pytest.fixture(params=TROUBLES)
def trouble(
    request: pytest.FixtureRequest,
    s3_server: SeaweedFS,
    s3_env: None,
    closed_port: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Trouble:
    """One cause of failure, set in the environment."""
    made = TROUBLES[request.param](s3_server.endpoint_url.removeprefix("http://"), closed_port)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.delenv("http_proxy", raising=False)
    for name, setting in made.env.items():
        monkeypatch.setenv(name, setting)
    return made


@pytest.fixture
def canaries(s3_server: SeaweedFS) -> Canaries:
    """All secrets of the test: the planted ones and those of the real server."""
    return Canaries(
        {"password": PASSWORD, "signature": SIGNATURE, "key": KEY, "secret": SECRET, "token": TOKEN}
        | {"the server's key": s3_server.access_key, "the server's secret": s3_server.secret_key}
    )


@pytest.fixture(scope="module")
def config_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("config")
    sealed.write_config(folder)
    return folder / "build.toml"


@pytest.fixture
def npd(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., str]]:
    """The command in this process. Returns everything that it printed."""

    def run(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["npd", *map(str, arguments)])
        with pytest.raises(SystemExit):
            main()
        return "".join(capfd.readouterr())

    yield run


def test_failed_command_prints_no_secret(
    npd: Callable[..., str], config_path: Path, trouble: Trouble, canaries: Canaries
) -> None:
    for command in (
        ("build", config_path, "--out", trouble.url),
        ("status", trouble.url),
        ("verify", trouble.url),
        ("report", trouble.url),
    ):
        printed = npd(*command)
        assert trouble.message in printed
        assert canaries.in_text(printed) == []


def test_traceback_shows_no_secret(trouble: Trouble, canaries: Canaries) -> None:
    """A traceback shows the error with all its causes, as in a program that reads a data set."""
    for call in ("get", "list", "put_if_absent"):
        assert canaries.in_text(_traceback_of(trouble.url, call)) == []


def _traceback_of(url: str, call: str) -> str:
    try:
        call_store(url, call)
    except NPDError as error:
        return "".join(traceback.format_exception(error))
    return "it worked"


@pytest.mark.usefixtures("ray_cluster")
def test_error_of_a_worker_contains_no_secret(trouble: Trouble, canaries: Canaries) -> None:
    names = ("AWS_", "HTTP_PROXY", "NO_PROXY")
    env = {name: value for name, value in os.environ.items() if name.startswith(names)}
    with pytest.raises(RayTaskError) as caught:
        ray.get(ray.remote(max_retries=0)(call_store_with).remote(env, trouble.url))
    shown = "".join(traceback.format_exception(caught.value))
    assert "call_store" in shown, "the traceback of the worker is included"
    assert trouble.message in shown
    assert canaries.in_text(shown) == []
