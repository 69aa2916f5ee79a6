"""The head of a Ray cluster with token authentication, as ``ray start`` starts it on a machine."""

import json
import os
import secrets
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from http import HTTPStatus
from http.client import HTTPResponse
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.error import HTTPError, URLError

import psutil

from infra.storage.ports import free_ports
from tests.waiting import until

READY_TIMEOUT_S = 300.0
"""Seen: 8 s on an idle machine; its dashboard is ten processes."""

DEATH_TIMEOUT_S = 120.0

ROOT = Path(__file__).resolve().parents[2]


class RayHead:
    """Context manager of one head with a separate folder, ports, token and process session.

    It keeps its address and token over ``kill`` and ``start``, as a machine does that fell down
    and came up again. Nothing that it did not start itself is touched.
    """

    def __init__(self, directory: Path, environment: Mapping[str, str] | None = None) -> None:
        self._directory = directory
        self._environment = environment or {}
        """Further variables of the head, which workers inherit."""
        self._token_path = directory / "token"
        self._gcs_port, self._dashboard_port, self._agent_port, self._client_port = free_ports(4)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._token_path.touch(mode=0o600)
        self._token_path.write_text(secrets.token_hex(32))
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    @property
    def address(self) -> str:
        """URL to which jobs are submitted."""
        return f"http://127.0.0.1:{self._dashboard_port}"

    @property
    def gcs_address(self) -> str:
        """Address that drivers connect to."""
        return f"127.0.0.1:{self._gcs_port}"

    @property
    def client_address(self) -> str:
        """Address of Ray Client."""
        return f"127.0.0.1:{self._client_port}"

    def client_env(self) -> dict[str, str]:
        """The environment of a person who may submit jobs here."""
        return _without_ray() | self._authentication() | {"RAY_API_SERVER_ADDRESS": self.address}

    def stranger_env(self, home: Path) -> dict[str, str]:
        """The environment of somebody who knows the address alone; Ray looks for tokens at home."""
        return _without_ray() | {"RAY_API_SERVER_ADDRESS": self.address, "HOME": str(home)}

    @property
    def directory(self) -> Path:
        """Folder of Ray's logs and sockets, the token, and the output of the head."""
        return self._directory

    @property
    def token_path(self) -> Path:
        """The file that lets in."""
        return self._token_path

    @property
    def service_discovery(self) -> Path:
        """The file from which Prometheus learns the exporters of all machines."""
        return self._directory / "session_latest" / "prom_metrics_service_discovery.json"

    def processes(self, name: str) -> list[psutil.Process]:
        """Return the processes of this cluster whose command line contains ``name``."""
        assert self._process is not None
        return [
            process
            for process in psutil.Process(self._process.pid).children(recursive=True)
            if name in _command_line(process)
        ]

    def state(self, resource: str) -> bytes:
        """Return the reply of the cluster that ``ray list <resource> --detail`` prints."""
        with self._get(f"/api/v0/{resource}?detail=true&limit=1000") as reply:
            data: bytes = reply.read()
            return data

    def job_status(self, submission_id: str) -> str | None:
        """Return the status of a job, or None if the head does not know it."""
        try:
            with self._get(f"/api/jobs/{submission_id}") as reply:
                status: str = json.load(reply)["status"]
                return status
        except HTTPError as error:
            if error.code == HTTPStatus.NOT_FOUND:
                return None
            raise

    def start(self) -> None:
        """Start; ``wait_until_ready`` comes next."""
        with (self._directory / "head.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command(),
                # As on a machine of a cluster: `python` is the one that has this package.
                env=_without_ray()
                | self._authentication()
                | {"PATH": _path(), "RAY_worker_niceness": "0", **self._environment},
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_until_ready(self) -> None:
        """Return when jobs are taken. Raises ``RuntimeError`` with the end of its log."""
        until(lambda: self._has_ended() or self._answers(), READY_TIMEOUT_S)
        if self._has_ended() or not self._answers():
            log = (self._directory / "head.log").read_text(errors="replace")
            state = "ended" if self._has_ended() else "is not up"
            raise RuntimeError(f"the head {state}:\n{log[-3000:]}")

    def wait_until_drivers_connect(self) -> None:
        """Return when a driver can connect. Jobs are taken seconds later."""
        assert until(lambda: self._has_ended() or _is_open(self._agent_port), READY_TIMEOUT_S)
        assert not self._has_ended()

    def kill(self) -> None:
        """End it and all that it started, as a power cut would: nobody has time for a last word."""
        if self._process is None:
            return
        ended = _kill_tree(self._process.pid)
        self._process.wait()
        self._process = None
        _, left = psutil.wait_procs(ended, DEATH_TIMEOUT_S)
        assert left == []

    def _has_ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def _command(self) -> list[str]:
        return [
            *(_script("ray"), "start", "--head", "--block", "--disable-usage-stats"),
            f"--port={self._gcs_port}",
            *("--min-worker-port=0", "--max-worker-port=0"),  # 0: any that is free
            f"--dashboard-port={self._dashboard_port}",
            f"--dashboard-agent-listen-port={self._agent_port}",
            f"--ray-client-server-port={self._client_port}",
            *("--num-cpus=2", "--object-store-memory=100000000"),
            f"--temp-dir={self._directory}",
        ]

    def _authentication(self) -> dict[str, str]:
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self._token_path)}

    def _answers(self) -> bool:
        try:
            # The agent runs the jobs: the dashboard waits no more than 10 s for it to show up.
            with socket.create_connection(("127.0.0.1", self._agent_port), timeout=1):
                pass
            with self._get("/api/jobs/"):
                return True
        except (URLError, ConnectionError, TimeoutError):
            return False

    def _get(self, path: str) -> HTTPResponse:
        token = {"Authorization": f"Bearer {self._token_path.read_text()}"}
        request = urllib.request.Request(f"{self.address}{path}", headers=token)
        reply = urllib.request.urlopen(request, timeout=READY_TIMEOUT_S)
        assert isinstance(reply, HTTPResponse)
        return reply


def _kill_tree(pid: int) -> list[psutil.Process]:
    """Kill a process and all its descendants; all that were killed.

    All are stopped first, because one that is killed early may be replaced by one that is not.
    """
    root = psutil.Process(pid)
    stopped: list[psutil.Process] = []
    while new := [one for one in [root, *root.children(recursive=True)] if one not in stopped]:
        for process in new:
            _send(process, "suspend")
        stopped += new
    for process in stopped:
        _send(process, "kill")
    return stopped


def _is_open(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def _command_line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def _send(process: psutil.Process, signal: str) -> None:
    try:
        getattr(process, signal)()
    except psutil.NoSuchProcess:
        return  # it has just ended by itself


def submit(
    env: dict[str, str], *entrypoint: object, submission_id: str | None = None
) -> subprocess.Popen[str]:
    """``ray job submit -- <entrypoint>`` as a person types it; its output is one text."""
    options = () if submission_id is None else ("--submission-id", submission_id)
    return subprocess.Popen(
        [_script("ray"), "job", "submit", *options, "--", *map(str, entrypoint)],
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _without_ray() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}


def _path() -> str:
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])


def _script(name: str) -> str:
    """A command that pip installed beside this interpreter."""
    return str(Path(sys.executable).parent / name)
