"""A SeaweedFS server that can be started, killed, restarted and stopped."""

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
"""Seconds until a start fails. An idle machine needs 3 s; the rest is for a busy one."""

POLL_S = 0.05

STOP_TIMEOUT_S = 1.0

REGION = "us-east-1"


class SeaweedFS:
    """Context manager around one server that stores its data in ``directory``.

    The server dies with the thread that started it. It keeps its ports and data over ``kill``
    and ``restart``, so a client sees an outage and not another server.
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
        """URL of the S3 interface."""
        return f"http://127.0.0.1:{self._ports[3]}"

    @property
    def filer_url(self) -> str:
        """URL at which files can be written without credentials; buckets are in ``/buckets``."""
        return f"http://127.0.0.1:{self._ports[2]}"

    def env(self) -> dict[str, str]:
        """Return the environment variables with which boto3, and so ``npd``, finds this server."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
        }

    def start(self) -> None:
        """Start the server and wait until it serves.

        Raise ``RuntimeError`` with the end of its log if it does not.
        """
        for attempts_left in (2, 1, 0):
            self._ports = free_ports(4)
            try:
                self._launch()
                return
            except ServerExitedError:
                # Another process can take a port between the check and the bind of the server.
                if attempts_left == 0:
                    raise

    def stop(self) -> None:
        """Stop the server with SIGTERM, and with SIGKILL after 1 s. Does nothing if not running."""
        # An orderly shutdown takes more than 10 s and is not needed: a write that the server has
        # acknowledged survives SIGKILL.
        if self._process is None:
            return
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=STOP_TIMEOUT_S)
        self.kill()

    def wait(self) -> None:
        """Wait until the server has ended."""
        if self._process is not None:
            self._process.wait()

    def kill(self) -> None:
        """Kill the server with SIGKILL, to simulate a power cut in fault tests."""
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
        """Create a bucket if it does not exist."""
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
                # In a separate session, Ctrl-C does not reach the server before the command ends.
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
    """The process of the server has exited unexpectedly."""


def _round_trip_failure(client: Any) -> Exception | None:
    """Return the error of a real PUT and GET, or None if they succeed."""
    # An open port is not enough. Until the volume server has joined, reads work and writes fail.
    try:
        bucket, key = "npd-ready", secrets.token_hex(4)
        client.create_bucket(Bucket=bucket)
        client.put_object(Bucket=bucket, Key=key, Body=b"ready")
        client.get_object(Bucket=bucket, Key=key)["Body"].read()
        client.delete_object(Bucket=bucket, Key=key)
        client.delete_bucket(Bucket=bucket)
    except (BotoCoreError, ClientError) as error:
        already = isinstance(error, ClientError) and "BucketAlready" in str(error)
        # An earlier round trip that failed half-way left the bucket.
        if already:
            client.delete_bucket(Bucket=bucket)
        return error
    return None
