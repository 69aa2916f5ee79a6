"""One SeaweedFS server: started, probed until it serves, killed, restarted, stopped."""

import secrets
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from infra.storage.ports import free_ports
from infra.storage.seaweedfs.process import remove_sockets, server_command, write_identities

READY_TIMEOUT_S = 60.0
"""Seen: 3 s on an idle machine; the rest is for a busy one."""

POLL_S = 0.05

STOP_TIMEOUT_S = 1.0

REGION = "us-east-1"


class SeaweedFS:
    """A context manager around one server whose data lives in ``directory``.

    The server dies with the thread that started it. It keeps its ports and data over ``kill``
    and ``restart``, so a client sees an outage, not another server.
    """

    def __init__(self, directory: Path, *, ready_timeout_s: float = READY_TIMEOUT_S) -> None:
        self.directory = directory.absolute()
        self.access_key = "npd" + secrets.token_hex(8)
        self.secret_key = secrets.token_hex(20)
        self._ready_timeout_s = ready_timeout_s
        self._process: subprocess.Popen[bytes] | None = None
        self._ports: list[int] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def endpoint_url(self) -> str:
        """Where the S3 interface listens."""
        return f"http://127.0.0.1:{self._ports[3]}"

    def env(self) -> dict[str, str]:
        """The variables with which boto3, and so ``npd``, finds this server."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
        }

    def start(self) -> None:
        """Start and wait until it serves. Raises ``RuntimeError`` with the end of its log."""
        for attempts_left in (2, 1, 0):
            self._ports = free_ports(4)
            try:
                self._launch()
                return
            except ServerExitedError:
                # Another process can take a port between our look and the server's bind.
                if attempts_left == 0:
                    raise

    def stop(self) -> None:
        """End it: asked first, by force after 1 s. Harmless when it is not running.

        Its own orderly end takes more than 10 s and saves nothing: a write that was answered
        survives SIGKILL.
        """
        if self._process is None:
            return
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=STOP_TIMEOUT_S)
        self.kill()

    def wait(self) -> None:
        """Return when the server has ended."""
        if self._process is not None:
            self._process.wait()

    def kill(self) -> None:
        """End it with SIGKILL, as a power cut would: for fault tests."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            remove_sockets(self._ports)

    def restart(self) -> None:
        """Serve the same data on the same ports again, after ``kill`` or ``stop``."""
        self.stop()
        self._launch()

    def create_bucket(self, name: str) -> None:
        """Make a bucket; one that is there already is fine."""
        try:
            self._client().create_bucket(Bucket=name)
        except ClientError as error:
            known = ("BucketAlreadyExists", "BucketAlreadyOwnedByYou")
            if error.response.get("Error", {}).get("Code") not in known:
                raise

    def _launch(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        identities = self.directory / "identities.json"
        write_identities(identities, self.access_key, self.secret_key)
        data = self.directory / "data"
        data.mkdir(exist_ok=True)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                server_command(data, identities, self._ports),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # A process group of its own: Ctrl-C ends the command first, then us, then this.
                start_new_session=True,
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self.kill()
            raise

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + self._ready_timeout_s
        client = self._client()
        while not self._exits_within(POLL_S):
            failure = _round_trip_failure(client)
            if failure is None:
                return
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f"SeaweedFS did not serve a PUT and GET within {self._ready_timeout_s:.0f} s "
                    f"(last failure: {failure}).\n{self._log_tail()}"
                )
        raise ServerExitedError(f"SeaweedFS exited at its start.\n{self._log_tail()}")

    def _exits_within(self, seconds: float) -> bool:
        if self._process is None:
            return True
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return self._process.returncode is not None

    @property
    def _log(self) -> Path:
        return self.directory / "weed.log"

    def _log_tail(self, num_lines: int = 15) -> str:
        lines = self._log.read_text(errors="replace").splitlines()
        return "\n".join([f"The end of {self._log}:", *lines[-num_lines:]])

    def _client(self) -> Any:
        return boto3.session.Session().client(
            "s3",
            endpoint_url=self.endpoint_url,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name=REGION,
            config=Config(
                connect_timeout=2,
                read_timeout=5,
                retries={"total_max_attempts": 1, "mode": "standard"},
                s3={"addressing_style": "path"},
            ),
        )


class ServerExitedError(RuntimeError):
    """The server's process ended before it served anything."""


def _round_trip_failure(client: Any) -> Exception | None:
    """What goes wrong with a real PUT and GET; None once they work.

    A port that answers proves nothing: the volume server may not have joined yet, and then reads
    work and writes do not.
    """
    try:
        bucket, key = "npd-ready", secrets.token_hex(4)
        client.create_bucket(Bucket=bucket)
        client.put_object(Bucket=bucket, Key=key, Body=b"ready")
        client.get_object(Bucket=bucket, Key=key)["Body"].read()
        client.delete_object(Bucket=bucket, Key=key)
        client.delete_bucket(Bucket=bucket)
    except (BotoCoreError, ClientError) as error:
        already = isinstance(error, ClientError) and "BucketAlready" in str(error)
        if already:  # a failed round trip of a moment ago left it
            client.delete_bucket(Bucket=bucket)
        return error
    return None
