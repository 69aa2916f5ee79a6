"""All processes of a build: the store, its proxy, a head, nodes, and the build itself."""

import os
import secrets
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self
from unittest.mock import patch

from infra.storage.seaweedfs import SeaweedFS
from tests.faults.real.build_process import BuildProcess
from tests.faults.real.gate import Gate
from tests.faults.real.network import Network
from tests.faults.real.ray_node import RayNode

BUCKET = "npd-faults"


class Rig:
    """Context manager around a cluster of ``num_nodes`` nodes with one worker each.

    ``folder`` holds all data and logs. Its path must be short: Ray creates sockets there, and the
    path of a socket has at most 107 bytes.
    """

    def __init__(self, folder: Path, network: Network, *, num_nodes: int) -> None:
        self.folder = folder
        self.network = network
        self.build: BuildProcess | None = None
        self.server = SeaweedFS(folder / "s3")
        self._num_nodes = num_nodes
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self.server)
            self.server.create_bucket(BUCKET)
            # This process reads the store directly, not through the gate.
            stack.enter_context(patch.dict(os.environ, self.server.env()))
            self.gate = Gate(self.server.endpoint_url, self.network.gateway)
            stack.callback(self.gate.close)
            self.env = self._environment()
            self.head = RayNode(self.network.add(), self.folder, self.env)
            self.nodes = [
                RayNode(self.network.add(), self.folder, self.env, self.head)
                for _ in range(self._num_nodes)
            ]
            for node in (self.head, *self.nodes):
                stack.callback(node.stop)
            stack.callback(self._stop_build)
            self.head.start()
            self.head.wait_until_ready()
            for node in self.nodes:
                node.start()
            for node in self.nodes:
                node.wait_until_ready()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def start_build(self, config: Path, name: str) -> BuildProcess:
        """Start a build into the prefix ``name``. Its driver runs on the host of the head."""
        self.build = BuildProcess(
            config,
            f"s3://{BUCKET}/{name}",
            prefix=self.head.place.prefix,
            env=self.env | {"RAY_ADDRESS": self.head.gcs_address},
            log=self.folder / f"{name}.log",
        )
        return self.build

    def revive_nodes(self) -> None:
        """Restart every node that has ended, as a supervisor would."""
        for node in self.nodes:
            if not node.is_running():
                node.stop()  # kills processes that the raylet left behind
                node.start()

    def _environment(self) -> dict[str, str]:
        """Return the environment of all cluster processes, with the gate as their store."""
        token = self.folder / "ray-token"
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32))
        inherited = {
            name: v for name, v in os.environ.items() if not name.startswith(("AWS_", "RAY_"))
        }
        return (
            inherited
            | self.server.env()
            | {
                "AWS_ENDPOINT_URL": self.gate.url,
                "AWS_EC2_METADATA_DISABLED": "true",
                # Ray gives up an unreachable node after about 7 s instead of 30 s. Cut links then
                # have both outcomes: some nodes continue, and others are given up.
                "RAY_health_check_period_ms": "1000",
                "RAY_health_check_timeout_ms": "2000",
                "RAY_health_check_failure_threshold": "3",
                "RAY_AUTH_MODE": "token",
                "RAY_AUTH_TOKEN_PATH": str(token),
                "OMP_NUM_THREADS": "1",
            }
        )

    def _stop_build(self) -> None:
        if self.build is not None:
            self.build.stop()
