"""Command line: run a server while a command runs, or until Ctrl-C."""

import argparse
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from botocore.exceptions import ClientError

from infra.storage.seaweedfs.server import SeaweedFS, ServerExitedError

# Settings of the user's account that would override or contradict those of `env()`.
_FOREIGN_SETTINGS = ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3")


def run_beside(command: list[str], env: dict[str, str]) -> int:
    """Run ``command`` with ``env`` added and return its exit status (128 + n for signal n)."""
    inherited = {name: v for name, v in os.environ.items() if name not in _FOREIGN_SETTINGS}
    with subprocess.Popen(command, env=inherited | env) as process:
        while True:
            try:
                status = process.wait()
                break
            except KeyboardInterrupt:
                # The terminal also sent Ctrl-C to the command, which decides how to react.
                continue
            except SystemExit:
                # SIGTERM reaches only this process, so it is passed on.
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
    raise ServerExitedError("SeaweedFS exited unexpectedly")


def _raise_exit(signum: int, frame: object) -> None:
    raise SystemExit(128 + signum)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    split = given.index("--") if "--" in given else len(given)
    command = given[split + 1 :]
    parser = argparse.ArgumentParser(
        prog="python -m infra.storage.seaweedfs",
        description="Run an S3 server (SeaweedFS) on loopback while a command runs.",
        usage="%(prog)s --dir D [--bucket B] [-- COMMAND ...]",
    )
    parser.add_argument("--dir", type=Path, required=True, help="folder for the data of the server")
    parser.add_argument("--bucket", help="bucket to create")
    options = parser.parse_args(given[:split])
    # Installed before the server starts, so that SIGTERM always stops the server too.
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
